"""The models that a server answers with, by name; each can be replaced while it is in use.

Whoever works with a model keeps it until the answer is out, so an old one goes when its last request is done.
Knows nothing of HTTP.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from assay.bundle import BundleError
from assay.errors import UsageError
from assay.inference import Classifier, Prediction
from assay.serving.batching import Batcher
from assay.serving.decoding import PhotoLimits
from assay.serving.golden import check_golden
from assay.serving.settings import BatchSettings, ModelSettings, UploadSettings
from assay.serving.sources import Source
from assay.serving.watching.base import Watcher


class Model:
    """A classifier in use.

    Attributes:
        name: as requests name it.
        classifier: what answers.
        batcher: the way to it.
        limits: which photos it takes.
        photo_bytes: the largest photo it takes.
    """

    def __init__(
        self,
        name: str,
        classifier: Classifier,
        batching: BatchSettings,
        uploads: UploadSettings,
        watcher: Watcher,
    ) -> None:
        self.name = name
        self.classifier = classifier
        self.info = classifier.info
        self.batcher: Batcher[np.ndarray, Prediction] = Batcher(
            lambda squares: classifier.predict_pixels(np.stack(squares)),
            batching.batch_size,
            batching.batch_wait,
            watcher,
        )
        serve = self.info.serve
        self.limits = PhotoLimits(uploads.formats or serve.accepted, uploads.max_side or serve.max_side)
        self.photo_bytes = int((uploads.max_megabytes or serve.max_megabytes) * 2**20)

    @property
    def precision(self) -> str:
        """fp32, bf16 or int8."""
        return self.classifier.precision

    @property
    def identity(self) -> str:
        """All that decides an answer besides the photo and the options."""
        return f"{self.info.version}-{self.precision}-{self.classifier.engine.name}"


class Models:
    """Models by name; the first is the one that answers where none is named.

    Args:
        sources: what to serve.
        settings: how to run it.
        threads: processors for inference.
        batching: how requests share it.
        uploads: what it takes.
        watcher: told which models are in use.

    Raises:
        BundleError: a bundle cannot be used, or fails its golden photos.
        UsageError: two models have the same name.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        settings: ModelSettings,
        threads: int,
        batching: BatchSettings,
        uploads: UploadSettings,
        watcher: Watcher,
    ) -> None:
        self._settings, self._threads = settings, threads
        self._batching, self._uploads, self._watcher = batching, uploads, watcher
        self._models: dict[str, Model] = {}
        self._sources: dict[str, Source] = {}
        self._reloading = asyncio.Lock()
        for source in sources:
            model = self._load(source)
            if model.name in self._models:
                raise UsageError(f"two models are called {model.name!r}: give NAME=PATH")
            self._put(source, model)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    @property
    def default(self) -> Model:
        """The model that answers where none is named."""
        return next(iter(self._models.values()))

    def get(self, name: str | None) -> Model | None:
        """Return the model of that name, the default for None; None if there is no such model."""
        return self.default if name is None else self._models.get(name)

    async def reload(self) -> Mapping[str, str]:
        """Read all bundles anew, check them, and only then use them; all or none.

        Returns:
            Versions by name.

        Raises:
            AssayError: a bundle cannot be used; the old ones answer on.
        """
        async with self._reloading:
            fresh = await asyncio.to_thread(self._load_again)
            for name, model in fresh.items():
                self._put(self._sources[name], model)
            return {model.name: model.info.version for model in self}

    def _load_again(self) -> dict[str, Model]:
        return {name: self._load(source, self._models[name]) for name, source in self._sources.items()}

    def _load(self, source: Source, old: Model | None = None) -> Model:
        settings = self._settings
        classifier = Classifier.load(
            source.path, settings.engine, precision=settings.precision, threads=self._threads
        )
        if settings.golden is not None:
            check_golden(classifier, settings.golden)
        if old is not None and classifier.classes != old.classifier.classes:
            raise BundleError(
                f"{source.path} has other classes than the model that it would replace: restart the server"
            )
        name = source.name or (classifier.info.name if old is None else old.name)
        return Model(name, classifier, self._batching, self._uploads, self._watcher)

    def _put(self, source: Source, model: Model) -> None:
        self._sources[model.name] = source
        self._models[model.name] = model
        self._watcher.model(model.name, model.info)
