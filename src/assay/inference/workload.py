"""Workloads, the engine settings for each, and the file that remembers which settings were measured to be fastest."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, get_args

from assay.core.cpu import cpu_count
from assay.core.errors import UsageError
from assay.core.tables import write_json

Workload = Literal["latency", "server", "throughput"]
"""latency: one photo at a time; server: concurrent requests; throughput: a folder of photos."""

WORKLOADS: tuple[Workload, ...] = get_args(Workload)

SERVER_BATCH = 4
"""Largest batch of a server whose model was not measured. Larger ones gain little on CPUs, and the first photo waits
for the last: ResNet-18 in int8 on Zen 4 takes 9.9 ms of CPU time alone, 9.3 in batches of 4, 8.9 in batches of 16."""
FOLDER_BATCH = 16
"""Photos per call for folders."""

_RUNTIMES = ("openvino", "onnxruntime", "onnxruntime-gpu")
_INSTRUCTION_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "OPENBLAS_CORETYPE", "ATEN_CPU_CAPABILITY")
"""Variables that limit the instruction set of a runtime."""


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """How a model is run.

    Attributes:
        engine: name of the engine, or auto.
        threads: CPU threads of all streams together.
        streams: concurrent calls, among which the threads are divided.
        batch: largest number of images per call.
    """

    engine: str
    threads: int
    streams: int
    batch: int

    def __str__(self) -> str:
        return f"{self.engine}, {self.streams} × {max(1, self.threads // self.streams)} threads, batch {self.batch}"


def default_setup(workload: Workload, engine: str, threads: int, *, gpu: bool = False) -> EngineSetup:
    """Return the settings by rule: all threads for one photo, one thread per stream for many photos.

    Args:
        workload: what the engine is used for.
        engine: name of the engine, or auto.
        threads: CPU threads.
        gpu: the engine uses a GPU, which computes one call at a time.
    """
    if workload == "latency":
        return EngineSetup(engine, threads, 1, 1)
    if gpu:
        return EngineSetup(engine, threads, 1, FOLDER_BATCH)
    return EngineSetup(engine, threads, threads, SERVER_BATCH if workload == "server" else FOLDER_BATCH)


@dataclass(frozen=True, slots=True)
class EngineMeasurement:
    """The result of measuring a model for one workload.

    Attributes:
        setup: the settings to use.
        rates: photos per second by settings, in words; the first are those given by the rule.
    """

    setup: EngineSetup
    rates: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class MeasurementKey:
    """What a measurement depends on, besides the machine.

    Attributes:
        model: digest of the ONNX model.
        precision: arithmetic of the engine.
        workload: what was measured.
        engine: requested engine, or auto.
        threads: CPU threads.
    """

    model: str
    precision: str
    workload: Workload
    engine: str
    threads: int

    def path(self, folder: Path) -> Path:
        """Return the path of the measurement, which also depends on processor, CPU count and runtime versions."""
        versions = []
        for name in _RUNTIMES:
            with suppress(PackageNotFoundError):
                versions.append(f"{name} {version(name)}")
        limits = [os.environ.get(name) for name in _INSTRUCTION_LIMITS]
        machine = (platform.machine(), _processor(), cpu_count(), limits)
        settings = repr((self.model, self.precision, self.engine, self.threads, versions, machine))
        return folder / f"{self.workload}-{hashlib.sha256(settings.encode()).hexdigest()[:32]}.json"


def read_measurement(path: Path) -> EngineMeasurement | None:
    """Return a saved measurement, or None if there is none or the file is damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        setup = EngineSetup(**values["setup"])
        rates = {str(name): float(rate) for name, rate in values["rates"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    numbers = (setup.threads, setup.streams, setup.batch)
    if not isinstance(setup.engine, str) or not all(isinstance(number, int) and number > 0 for number in numbers):
        return None
    return EngineMeasurement(setup, rates)


def save_measurement(path: Path, measurement: EngineMeasurement) -> None:
    """Save a measurement atomically; a folder that cannot be written to is ignored."""
    with suppress(OSError):
        write_json(path, {"setup": asdict(measurement.setup), "rates": dict(measurement.rates)})


def check_workload(workload: str) -> None:
    """Raise `UsageError` if there is no such workload."""
    if workload not in WORKLOADS:
        raise UsageError(f"unknown workload {workload!r}: choose {', '.join(WORKLOADS)}")


def _processor() -> str:
    """Return the model and the instruction sets of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = ("model name", "flags", "CPU part", "Features")
    return "\n".join(next((line for line in lines if line.startswith(name)), "") for name in names)
