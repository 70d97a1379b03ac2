"""Which runtime is fastest with one model on this machine: measured once, remembered after.

Worth a second where many photos follow; for a single photo a rule is good enough (`assay.inference.choice`).
"""

import hashlib
import json
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import numpy as np

from assay.files import write_text
from assay.inference.choice import usual_engine
from assay.inference.cpus import cpu_count
from assay.inference.engine import Engine, EngineError, Mode
from assay.inference.engines import create_engine

_RUNTIMES = ("openvino", "onnxruntime", "onnxruntime-gpu")
_BATCH = {"latency": 1, "throughput": 16}
_TURNS = 3
_IN_A_ROW = 4
_CLEARLY = 0.95
"""A runtime must need less than this share of the usual one's time: less is chance, and chance changes."""

Clock = Callable[[], float]


def remembered_engine(model: bytes, threads: int | None, mode: Mode, folder: Path) -> str | None:
    """Return the runtime that was measured to be fastest, or None where nobody measured.

    Args:
        model: serialised ONNX model.
        threads: processors to use; none: all that this process may.
        mode: what to be quick at.
        folder: where choices are kept.
    """
    try:
        told = json.loads(_file(model, threads, mode, folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = told.get("engine") if isinstance(told, dict) else None
    return name if name in usual_engine() else None


def measure_engine(
    model: bytes, threads: int | None, mode: Mode, folder: Path, clock: Clock = time.perf_counter
) -> str:
    """Measure every runtime that can run a model and remember the fastest if the folder can be written.

    Args:
        model: serialised ONNX model.
        threads: processors to use; none: all that this process may.
        mode: what to be quick at: one image, or batches of 16.
        folder: where choices are kept.
        clock: tells the time in seconds.

    Returns:
        The name of the runtime; the usual one unless another is clearly faster.

    Raises:
        EngineError: none can run the model.
    """
    engines: dict[str, Engine] = {}
    failed = EngineError("no runtime is installed: pip install openvino")
    for name in usual_engine():
        try:
            engines[name] = create_engine(name, model, threads, mode=mode)
        except EngineError as error:
            failed = error
    if not engines:
        raise failed
    taken = _times(engines, mode, clock)
    usual = next(iter(taken))
    fastest = min(taken, key=lambda name: taken[name])
    chosen = fastest if taken[fastest] < _CLEARLY * taken[usual] else usual
    told = {"engine": chosen, "seconds": taken}
    with suppress(OSError):
        write_text(_file(model, threads, mode, folder), json.dumps(told, indent=2) + "\n")
    return chosen


def _times(engines: dict[str, Engine], mode: Mode, clock: Clock) -> dict[str, float]:
    """Return the median seconds for a batch; the runtimes take turns."""
    side = next(iter(engines.values())).signature.images[1] or 224
    shape = (_BATCH[mode], side, side, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_TURNS):
        for name, engine in engines.items():
            engine.run(images)  # not timed: it finds what the other has left in the processor's caches
            for _ in range(_IN_A_ROW):
                start = clock()
                engine.run(images)
                taken[name].append(clock() - start)
    return {name: median(values) for name, values in taken.items()}


def _file(model: bytes, threads: int | None, mode: Mode, folder: Path) -> Path:
    """Return where the choice is kept: another model, machine, version or setting has another file."""
    versions = []
    for name in _RUNTIMES:
        with suppress(PackageNotFoundError):
            versions.append(f"{name} {version(name)}")
    machine = (platform.machine(), platform.processor(), _processor(), threads or cpu_count())
    setting = repr((hashlib.sha256(model).hexdigest(), versions, machine, mode))
    return folder / f"{hashlib.sha256(setting.encode()).hexdigest()}.json"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("model name", "CPU part"))), "")
