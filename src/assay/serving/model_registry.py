"""The registry of served models, their hot reload, and the check of golden images before a model is used."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from assay.bundle import BundleError
from assay.core.errors import UsageError
from assay.image.ignore_rules import SkippedFiles
from assay.image.image_files import is_image_file, walk_images
from assay.inference import Classifier, EngineSetup, Failure, ModelLoader, Prediction
from assay.serving.batching import Batcher
from assay.serving.compute_pool import ComputePool, compute_executor
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


def make_batcher(
    classifier: Classifier, single: Classifier, setup: EngineSetup, pool: ComputePool, telemetry: TelemetrySink
) -> Batcher[np.ndarray, Prediction]:
    """Return a batcher of preprocessed images, uint8 [S, S, 3]; `single` uses all CPU threads for each call."""
    return Batcher(
        lambda items: classifier.predict_pixels(np.stack(items)),
        lambda items: single.predict_pixels(np.stack(items)),
        setup,
        pool,
        telemetry,
    )


class ServedModel:
    """A model with its batcher and the limits on its images.

    Attributes:
        name: its name in requests.
        loader: the bundle it was loaded from.
        classifier: runs several calls at a time, each in one stream.
        info: metadata of the bundle.
        setup: how its engine is run.
        batcher: classifies preprocessed images, uint8 [S, S, 3].
        image_limits: which images are accepted.
        max_image_bytes: size of the largest accepted file.
    """

    def __init__(
        self,
        name: str,
        loader: ModelLoader,
        *,
        pool: ComputePool,
        batching: BatchSettings,
        uploads: UploadSettings,
        telemetry: TelemetrySink,
    ) -> None:
        """Load the engine with the settings measured for a server, else those of the rule.

        Raises:
            BundleError: the model cannot be run.
        """
        self.name, self.loader = name, loader
        self.classifier = Classifier.from_loader(loader, "server")
        self.info, self.setup = self.classifier.info, self.classifier.setup
        if batching.batch_size is not None:
            self.setup = replace(self.setup, batch=batching.batch_size)
        single = self.classifier
        if self.setup.streams > 1:
            single = Classifier.from_setup(loader, replace(self.setup, streams=1))
        self.batcher = make_batcher(self.classifier, single, self.setup, pool, telemetry)
        serve = self.info.serve
        self.image_limits = ImageLimits(uploads.formats or serve.accepted, uploads.max_side or serve.max_side)
        self.max_image_bytes = int((uploads.max_megabytes or serve.max_megabytes) * 2**20)

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

    Attributes:
        pool: the threads in which all models run.

    Raises:
        BundleError: a bundle cannot be used, or fails its golden images.
        UsageError: two models have the same name.
    """

    def __init__(
        self,
        sources: Sequence[ModelSource],
        *,
        settings: ModelSettings,
        pool: ComputePool,
        batching: BatchSettings,
        uploads: UploadSettings,
        telemetry: TelemetrySink,
    ) -> None:
        self.pool = pool
        self._settings, self._threads = settings, settings.threads or pool.threads
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

    async def apply_measurement(self, model: ServedModel) -> ServedModel:
        """Replace a model by the same one with the measured engine settings, and return it.

        If the model was reloaded in the meantime, it is not replaced.

        Raises:
            BundleError: the model cannot be run.
        """
        tuned = await asyncio.to_thread(self._create, model.name, model.loader)
        if self._models.get(model.name) is model:
            self._models[model.name] = tuned
        return tuned

    def _load_all(self) -> dict[str, ServedModel]:
        return {name: self._load(source, self._models[name]) for name, source in self._sources.items()}

    def _load(self, source: ModelSource, old: ServedModel | None = None) -> ServedModel:
        settings = self._settings
        loader = ModelLoader(source.path, settings.engine, precision=settings.precision, threads=self._threads)
        info = loader.bundle.info
        if old is not None and info.classes != old.info.classes:
            raise BundleError(f"{source.path} has other classes than the model that it replaces: restart the server")
        name = source.name or (info.name if old is None else old.name)
        model = self._create(name, loader)
        if settings.golden is not None:
            check_golden(model.classifier, settings.golden)
        return model

    def _create(self, name: str, loader: ModelLoader) -> ServedModel:
        # The threads that OpenVINO starts for its streams inherit the priority of the thread that loads the model.
        with compute_executor(1, "assay-load") as pool:
            work = partial(
                ServedModel,
                name,
                loader,
                pool=self.pool,
                batching=self._batching,
                uploads=self._uploads,
                telemetry=self._telemetry,
            )
            return pool.submit(work).result()

    def _register(self, source: ModelSource, model: ServedModel) -> None:
        self._sources[model.name] = source
        self._models[model.name] = model
        self._telemetry.emit(ModelActivated(model.name, model.info))
