"""Choose and create an engine: preference by hardware, precision, and a benchmark whose result is cached."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Literal

import numpy as np

from assay.bundle import Precision
from assay.core.cpu import cpu_count, int8_instructions
from assay.core.errors import UsageError
from assay.core.files import write_text
from assay.inference.engine import Engine, EngineError, EngineFactory, EngineMode
from assay.inference.onnxruntime_engine import CudaEngine, OnnxRuntimeEngine, has_cuda
from assay.inference.openvino_engine import OpenVinoEngine

ComputePrecision = Literal["fp32", "bf16", "int8"]
"""What a model calculates with: bf16 is the 32-bit model, its numbers rounded to bfloat16 before they are
multiplied and summed with 32 bits."""
PrecisionChoice = Literal["auto", "fp32", "bf16", "int8"]
"""What may be asked for."""

_ROOT = Path("/")


def preferred_engines(machine: str | None = None) -> tuple[str, ...]:
    """Return the runtimes that may run here, the one that is usually fastest first; never empty.

    Args:
        machine: the processor's architecture as `platform.machine` spells it; none: this one's.
    """
    arm = (machine or platform.machine()).lower() in {"arm64", "aarch64"}
    # OpenVINO is made for x86; on ARM its int8 models calculate with floating point.
    processors = ["onnxruntime", "openvino"] if arm else ["openvino", "onnxruntime"]
    if find_spec("openvino") is None:
        processors.remove("openvino")
    return (*(["cuda"] if has_cuda() else []), *processors)


def choose_precision(
    asked: PrecisionChoice, usual: Precision, there: Collection[Precision], root: Path = _ROOT
) -> ComputePrecision:
    """Return the precision that answers.

    Always the same on one machine, since the last digits of an answer depend on it.

    Args:
        asked: fp32, bf16, int8, or auto: what the bundle is meant to answer with, unless that is int8 and the
            processor has no instructions for it, or a graphics card answers.
        usual: what the bundle is meant to answer with.
        there: precisions of the bundle's models.
        root: where `/proc` lies.

    Returns:
        What was asked for, also where the bundle does not hold it.
    """
    if asked != "auto":
        return asked
    if usual == "int8" and "int8" in there and not has_cuda() and int8_instructions(root) != frozenset():
        return "int8"
    return "fp32"


def stored_precision(arithmetic: ComputePrecision) -> Precision:
    """Return which of a bundle's models calculates so."""
    return "int8" if arithmetic == "int8" else "fp32"


AUTO = "auto"

ENGINES: Mapping[str, EngineFactory] = MappingProxyType({"openvino": OpenVinoEngine, "onnxruntime": OnnxRuntimeEngine})
"""From a serialised ONNX model to an engine, by the runtime's name; those of the processor."""

_FACTORIES: Mapping[str, EngineFactory] = MappingProxyType({**ENGINES, CudaEngine.name: CudaEngine})
ENGINE_NAMES = (AUTO, *_FACTORIES)
"""What may be asked for."""


def create_engine(
    name: str,
    model: bytes,
    threads: int | None = None,
    *,
    mode: EngineMode = "latency",
    cache: Path | None = None,
    bf16: bool = False,
) -> Engine:
    """Make a model ready.

    Args:
        name: one of `ENGINE_NAMES`; auto: what is usually fastest of what is installed.
        model: serialised ONNX model.
        threads: processors to use; none: all that this process may.
        mode: what to be quick at.
        cache: folder in which compiled models may be kept; none: nothing is written.
        bf16: multiply 32-bit numbers rounded to bfloat16; auto is OpenVINO then.

    Raises:
        UsageError: there is no such engine or mode, or it never rounds so.
        EngineError: the runtime cannot be loaded, cannot run the model, or cannot round so here.
    """
    if name not in ENGINE_NAMES:
        raise UsageError(f"no engine is called {name!r}: choose {', '.join(ENGINE_NAMES)}")
    if mode not in {"latency", "throughput"}:
        raise UsageError(f"there is no mode {mode!r}: choose latency or throughput")
    if bf16 and name not in {AUTO, OpenVinoEngine.name}:
        raise UsageError(f"{name} does not round to bfloat16: choose the engine openvino or the precision fp32")
    if bf16:
        return OpenVinoEngine(model, threads, mode=mode, cache=cache, bf16=True)
    if name != AUTO:
        return _FACTORIES[name](model, threads, mode=mode, cache=cache)
    *first, last = preferred_engines()
    for one in first:
        try:
            return _FACTORIES[one](model, threads, mode=mode, cache=cache)
        except EngineError:
            # The next one runs it, or says why it cannot.
            continue
    return _FACTORIES[last](model, threads, mode=mode, cache=cache)


_RUNTIMES = ("openvino", "onnxruntime", "onnxruntime-gpu")
_BATCH_SIZES = {"latency": 1, "throughput": 16}
_ROUNDS = 3
_RUNS_PER_ROUND = 4
_MIN_SPEEDUP_SHARE = 0.95
"""A runtime must need less than this share of the usual one's time: less is chance, and chance changes."""

Timer = Callable[[], float]


def cached_fastest_engine(model: bytes, threads: int | None, mode: EngineMode, folder: Path) -> str | None:
    """Return the runtime that was measured to be fastest, or None where nobody measured.

    Args:
        model: serialised ONNX model.
        threads: processors to use; none: all that this process may.
        mode: what to be quick at.
        folder: where choices are kept.
    """
    try:
        told = json.loads(_result_path(model, threads, mode, folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = told.get("engine") if isinstance(told, dict) else None
    return name if name in preferred_engines() else None


def benchmark_engines(
    model: bytes, threads: int | None, mode: EngineMode, folder: Path, clock: Timer = time.perf_counter
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
    for name in preferred_engines():
        try:
            engines[name] = create_engine(name, model, threads, mode=mode)
        except EngineError as error:
            failed = error
    if not engines:
        raise failed
    taken = _median_times(engines, mode, clock)
    usual = next(iter(taken))
    fastest = min(taken, key=lambda name: taken[name])
    chosen = fastest if taken[fastest] < _MIN_SPEEDUP_SHARE * taken[usual] else usual
    told = {"engine": chosen, "seconds": taken}
    with suppress(OSError):
        write_text(_result_path(model, threads, mode, folder), json.dumps(told, indent=2) + "\n")
    return chosen


def _median_times(engines: dict[str, Engine], mode: EngineMode, clock: Timer) -> dict[str, float]:
    """Return the median seconds for a batch; the runtimes take turns."""
    side = next(iter(engines.values())).signature.images[1] or 224
    shape = (_BATCH_SIZES[mode], side, side, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            engine.run(images)  # not timed: it finds what the other has left in the processor's caches
            for _ in range(_RUNS_PER_ROUND):
                start = clock()
                engine.run(images)
                taken[name].append(clock() - start)
    return {name: median(values) for name, values in taken.items()}


def _result_path(model: bytes, threads: int | None, mode: EngineMode, folder: Path) -> Path:
    """Return where the choice is kept: another model, machine, version or setting has another file."""
    versions = []
    for name in _RUNTIMES:
        with suppress(PackageNotFoundError):
            versions.append(f"{name} {version(name)}")
    machine = (platform.machine(), platform.processor(), _cpu_model(), threads or cpu_count())
    setting = repr((hashlib.sha256(model).hexdigest(), versions, machine, mode))
    return folder / f"{hashlib.sha256(setting.encode()).hexdigest()}.json"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("model name", "CPU part"))), "")
