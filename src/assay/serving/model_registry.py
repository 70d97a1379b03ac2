"""The registry of served models, their hot reload, and the check of golden images before a model is used."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from assay.bundle import BundleError
from assay.core.errors import UsageError
from assay.image.ignore_rules import SkippedFiles
from assay.image.image_files import is_image_file, walk_images
from assay.inference import Classifier, Failure, Prediction
from assay.serving.batching import Batcher
from assay.serving.decoding import ImageLimits
from assay.serving.settings import BatchSettings, ModelSettings, ModelSource, UploadSettings
from assay.serving.telemetry import ModelActivated, TelemetrySink


def check_golden(classifier: Classifier, folder: Path) -> None:
    """Check that a classifier answers golden images correctly, in folders named after their class if it is known.

    Raises:
        BundleError: there are no images, or one gets no answer or the wrong one.
    """
    source = classifier.info.name if classifier.bundle is None else str(classifier.bundle.path)
    paths = (
        sorted(path for path in walk_images(folder, SkippedFiles()) if is_image_file(path)) if folder.is_dir() else []
    )
    if not paths:
        raise BundleError(f"{folder} contains no golden images: add some, or omit --golden")
    for path, prediction in zip(paths, classifier.stream(paths), strict=True):
        if isinstance(prediction, Failure):
            raise BundleError(f"{source} cannot be used: golden image {prediction}")
        expected = path.parent.name if path.parent != folder else None
        if expected in classifier.classes and prediction.label != expected:
            raise BundleError(f"{source} cannot be used: it classifies golden image {path} as {prediction.label!r}")


class ServedModel:
    """A model with its batcher and the limits on its images."""

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
            self._predict, batching.batch_size, batching.batch_wait, telemetry
        )
        serve = self.info.serve
        self.image_limits = ImageLimits(uploads.formats or serve.accepted, uploads.max_side or serve.max_side)
        self.max_image_bytes = int((uploads.max_megabytes or serve.max_megabytes) * 2**20)

    def _predict(self, pixels: Sequence[np.ndarray]) -> list[Prediction]:
        return self.classifier.predict_pixels(np.stack(pixels))

    @property
    def precision(self) -> str:
        """fp32, bf16 or int8."""
        return self.classifier.precision

    @property
    def identity(self) -> str:
        """Everything that determines a result besides the image and the options."""
        return f"{self.info.version}-{self.precision}-{self.classifier.engine.name}"


class ModelRegistry:
    """Models by name; the first is the default.

    Raises:
        BundleError: a bundle cannot be used, or fails its golden images.
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
        self._reload_lock = asyncio.Lock()
        for source in sources:
            model = self._load(source)
            if model.name in self._models:
                raise UsageError(f"two models are named {model.name!r}: give NAME=PATH")
            self._register(source, model)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    @property
    def default(self) -> ServedModel:
        """The model for requests that do not name one."""
        return next(iter(self._models.values()))

    def get(self, name: str | None) -> ServedModel | None:
        """Return a model by name, the default for None; None if there is no such model."""
        return self.default if name is None else self._models.get(name)

    async def reload(self) -> Mapping[str, str]:
        """Read and check all bundles again, use the new models only if all of them pass, and return versions by name.

        Raises:
            AssayError: a bundle cannot be used; the old models stay.
        """
        async with self._reload_lock:
            reloaded = await asyncio.to_thread(self._load_all)
            for name, model in reloaded.items():
                self._register(self._sources[name], model)
            return {model.name: model.info.version for model in self}

    def _load_all(self) -> dict[str, ServedModel]:
        return {name: self._load(source, self._models[name]) for name, source in self._sources.items()}

    def _load(self, source: ModelSource, old: ServedModel | None = None) -> ServedModel:
        settings = self._settings
        classifier = Classifier.load(source.path, settings.engine, precision=settings.precision, threads=self._threads)
        if settings.golden is not None:
            check_golden(classifier, settings.golden)
        if old is not None and classifier.classes != old.classifier.classes:
            raise BundleError(f"{source.path} has other classes than the model that it replaces: restart the server")
        name = source.name or (classifier.info.name if old is None else old.name)
        return ServedModel(name, classifier, self._batching, self._uploads, self._telemetry)

    def _register(self, source: ModelSource, model: ServedModel) -> None:
        self._sources[model.name] = source
        self._models[model.name] = model
        self._telemetry.emit(ModelActivated(model.name, model.info))
