"""The registry of served models, their hot reload, and the check of golden images before a model is used."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from assay.bundle import BundleError
from assay.core.errors import UsageError
from assay.image.image_files import is_image_file, walk_images
from assay.image.skipped_files import SkippedFiles
from assay.inference import Classifier, Failure, Prediction
from assay.serving.batching import Batcher
from assay.serving.decoding import ImageLimits
from assay.serving.settings import BatchSettings, ModelSettings, ModelSource, UploadSettings
from assay.serving.telemetry import ModelActivated, TelemetrySink


def check_golden(classifier: Classifier, folder: Path) -> None:
    """Have a classifier answer photos whose answers are known.

    Args:
        classifier: the one to be used.
        folder: photos, in folders named after classes where their class is known.

    Raises:
        BundleError: there are no photos, or one gets no answer or the wrong one.
    """
    where = classifier.info.name if classifier.bundle is None else str(classifier.bundle.path)
    paths = (
        sorted(path for path in walk_images(folder, SkippedFiles()) if is_image_file(path)) if folder.is_dir() else []
    )
    if not paths:
        raise BundleError(f"{folder} holds no golden photos: put some there, or leave out --golden")
    for path, said in zip(paths, classifier.stream(paths), strict=True):
        if isinstance(said, Failure):
            raise BundleError(f"{where} cannot be used: golden photo {said}")
        expected = path.parent.name if path.parent != folder else None
        if expected in classifier.classes and said.label != expected:
            raise BundleError(f"{where} cannot be used: it calls golden photo {path} {said.label!r}")


class ServedModel:
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
        telemetry: TelemetrySink,
    ) -> None:
        self.name = name
        self.classifier = classifier
        self.info = classifier.info
        self.batcher: Batcher[np.ndarray, Prediction] = Batcher(
            lambda squares: classifier.predict_pixels(np.stack(squares)),
            batching.batch_size,
            batching.batch_wait,
            telemetry,
        )
        serve = self.info.serve
        self.limits = ImageLimits(uploads.formats or serve.accepted, uploads.max_side or serve.max_side)
        self.photo_bytes = int((uploads.max_megabytes or serve.max_megabytes) * 2**20)

    @property
    def precision(self) -> str:
        """fp32, bf16 or int8."""
        return self.classifier.precision

    @property
    def identity(self) -> str:
        """All that decides an answer besides the photo and the options."""
        return f"{self.info.version}-{self.precision}-{self.classifier.engine.name}"


class ModelRegistry:
    """Models by name; the first is the one that answers where none is named.

    Args:
        sources: what to serve.
        settings: how to run it.
        threads: processors for inference.
        batching: how requests share it.
        uploads: what it takes.
        telemetry: told which models are in use.

    Raises:
        BundleError: a bundle cannot be used, or fails its golden photos.
        UsageError: two models have the same name.
    """

    def __init__(
        self,
        sources: Sequence[ModelSource],
        *,
        settings: ModelSettings,
        threads: int,
        batching: BatchSettings,
        uploads: UploadSettings,
        telemetry: TelemetrySink,
    ) -> None:
        self._settings, self._threads = settings, threads
        self._batching, self._uploads, self._telemetry = batching, uploads, telemetry
        self._models: dict[str, ServedModel] = {}
        self._sources: dict[str, ModelSource] = {}
        self._reloading = asyncio.Lock()
        for source in sources:
            model = self._load(source)
            if model.name in self._models:
                raise UsageError(f"two models are called {model.name!r}: give NAME=PATH")
            self._put(source, model)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    @property
    def default(self) -> ServedModel:
        """The model that answers where none is named."""
        return next(iter(self._models.values()))

    def get(self, name: str | None) -> ServedModel | None:
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

    def _load_again(self) -> dict[str, ServedModel]:
        return {name: self._load(source, self._models[name]) for name, source in self._sources.items()}

    def _load(self, source: ModelSource, old: ServedModel | None = None) -> ServedModel:
        settings = self._settings
        classifier = Classifier.load(source.path, settings.engine, precision=settings.precision, threads=self._threads)
        if settings.golden is not None:
            check_golden(classifier, settings.golden)
        if old is not None and classifier.classes != old.classifier.classes:
            raise BundleError(
                f"{source.path} has other classes than the model that it would replace: restart the server"
            )
        name = source.name or (classifier.info.name if old is None else old.name)
        return ServedModel(name, classifier, self._batching, self._uploads, self._telemetry)

    def _put(self, source: ModelSource, model: ServedModel) -> None:
        self._sources[model.name] = source
        self._models[model.name] = model
        self._telemetry.emit(ModelActivated(model.name, model.info))
