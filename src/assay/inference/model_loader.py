"""Create the engine of a bundle with given settings, and remember which settings are fastest for which workload."""

from pathlib import Path
from typing import get_args

from assay.bundle import Bundle, BundleError
from assay.core.cpu import cpu_count
from assay.core.errors import UsageError
from assay.core.files import cache_folder
from assay.inference.engine import Engine, EngineError, check_engine
from assay.inference.engine_selection import (
    AUTO,
    PrecisionChoice,
    choose_precision,
    create_engine,
    preferred_engines,
    stored_precision,
)
from assay.inference.openvino_engine import OpenVinoEngine
from assay.inference.workload import (
    EngineMeasurement,
    EngineSetup,
    MeasurementKey,
    Workload,
    default_setup,
    read_measurement,
    save_measurement,
)
from assay.inference.workload_measurement import candidate_setups


class ModelLoader:
    """A bundle, and how its model is to be run.

    Attributes:
        bundle: the bundle.
        precision: arithmetic of the engine.
        stored: precision of the bundle's model that is used.
        engine: requested engine, or auto.
        threads: CPU threads.

    Args:
        path: the `.assay` file.
        engine: one of `ENGINE_NAMES`.
        precision: fp32, bf16, int8 or auto; see `Classifier.load`.
        threads: CPU threads; None: all available.

    Raises:
        BundleError: the file is not an intact bundle of a supported version.
        UsageError: there is no such precision, or the bundle contains no int8 model.
    """

    def __init__(
        self,
        path: str | Path,
        engine: str = AUTO,
        *,
        precision: PrecisionChoice = "auto",
        threads: int | None = None,
    ) -> None:
        self.bundle = Bundle.open(path)
        if precision not in get_args(PrecisionChoice):
            raise UsageError(f"unknown precision {precision!r}: choose auto, fp32, bf16 or int8")
        self.precision = choose_precision(precision, self.bundle.info.precision, self.bundle.precisions)
        self.stored = stored_precision(self.precision)
        if self.stored not in self.bundle.precisions:
            raise UsageError(
                f"{path} contains no int8 model: use precision auto. "
                "Training adds one if it is as accurate as fp32 and faster on that machine"
            )
        self.engine, self.threads = engine, threads or cpu_count()
        self._model = self.bundle.model(self.stored)
        self._paths: dict[Workload, Path] = {}

    def default_setup(self, workload: Workload) -> EngineSetup:
        """Return the settings by rule."""
        first = preferred_engines()[0] if self.engine == AUTO else self.engine
        gpu = first == "cuda" and self.precision != "bf16"
        return default_setup(workload, self.engine, self.threads, gpu=gpu)

    def candidate_setups(self, workload: Workload) -> list[EngineSetup]:
        """Return the settings to compare for a workload, those of the rule first."""
        names = preferred_engines() if self.engine == AUTO else (self.engine,)
        if self.precision == "bf16":
            names = (OpenVinoEngine.name,)
        return candidate_setups(workload, names, self.threads)

    def measurement(self, workload: Workload) -> EngineMeasurement | None:
        """Return the saved measurement of a workload, or None."""
        return read_measurement(self.measurement_path(workload))

    def save(self, workload: Workload, measurement: EngineMeasurement) -> None:
        """Save a measurement; a folder that cannot be written to is ignored."""
        save_measurement(self.measurement_path(workload), measurement)

    def measurement_path(self, workload: Workload) -> Path:
        """Return the file of the measurement for this model, machine and workload."""
        if workload not in self._paths:
            key = MeasurementKey(
                self.bundle.model_digest(self.stored), self.precision, workload, self.engine, self.threads
            )
            self._paths[workload] = key.path(cache_folder() / "engines")
        return self._paths[workload]

    def create(self, setup: EngineSetup) -> Engine:
        """Create the engine and check it on synthetic images.

        Raises:
            BundleError: the model cannot be run, or does not match the bundle.
            UsageError: there is no such engine.
        """
        info, bf16 = self.bundle.info, self.precision == "bf16"
        compiled = cache_folder() / "compiled"
        try:
            engine = create_engine(
                setup.engine, self._model, setup.threads, streams=setup.streams, cache=compiled, bf16=bf16
            )
            _check_signature(self.bundle, engine)
            check_engine(engine, info.preprocess.size, len(info.classes))
        except EngineError as error:
            raise BundleError(f"{self.bundle.path} cannot be run: {error}") from None
        return engine


def _check_signature(bundle: Bundle, engine: Engine) -> None:
    images, logits = engine.signature
    size, classes = bundle.info.preprocess.size, len(bundle.info.classes)
    if images[1] not in (None, size):
        raise BundleError(f"{bundle.path} is inconsistent: input of {size} pixels for a model of {images[1]}")
    if logits[1] not in (None, classes):
        raise BundleError(f"{bundle.path} is inconsistent: {classes} classes for a model of {logits[1]}")
