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
from assay.core.tables import write_json
from assay.inference.engine import Engine, EngineError, EngineFactory, EngineMode
from assay.inference.onnxruntime_engine import CudaEngine, OnnxRuntimeEngine, has_cuda
from assay.inference.openvino_engine import OpenVinoEngine

ComputePrecision = Literal["fp32", "bf16", "int8"]
"""Arithmetic of inference. bf16 is the fp32 model with operands rounded to bfloat16 and fp32 accumulation."""
PrecisionChoice = Literal["auto", "fp32", "bf16", "int8"]

_ROOT = Path("/")


def preferred_engines(machine: str | None = None) -> tuple[str, ...]:
    """Return the engines available on an architecture (None: this machine's), usually fastest first; never empty."""
    arm = (machine or platform.machine()).lower() in {"arm64", "aarch64"}
    # OpenVINO is optimised for x86; on ARM it computes int8 models in floating point.
    processors = ["onnxruntime", "openvino"] if arm else ["openvino", "onnxruntime"]
    if find_spec("openvino") is None:
        processors.remove("openvino")
    return (*(["cuda"] if has_cuda() else []), *processors)


def choose_precision(
    requested: PrecisionChoice, default: Precision, available: Collection[Precision], root: Path = _ROOT
) -> ComputePrecision:
    """Choose the precision; always the same on one machine, since the last digits of a prediction depend on it.

    `auto` is the bundle's `default`, unless that is int8 and the CPU has no int8 instructions or a GPU is used. An
    explicit request is returned even if the bundle has no such model. `root` is the parent of `/proc`.
    """
    if requested != "auto":
        return requested
    if default == "int8" and "int8" in available and not has_cuda() and int8_instructions(root) != frozenset():
        return "int8"
    return "fp32"


def stored_precision(precision: ComputePrecision) -> Precision:
    """Return the precision of the bundle's model that is used for a compute precision."""
    return "int8" if precision == "int8" else "fp32"


AUTO = "auto"

ENGINES: Mapping[str, EngineFactory] = MappingProxyType({"openvino": OpenVinoEngine, "onnxruntime": OnnxRuntimeEngine})
"""Factories of the CPU engines by name."""

_FACTORIES: Mapping[str, EngineFactory] = MappingProxyType({**ENGINES, CudaEngine.name: CudaEngine})
ENGINE_NAMES = (AUTO, *_FACTORIES)


def create_engine(
    name: str,
    model: bytes,
    threads: int | None = None,
    *,
    mode: EngineMode = "latency",
    cache: Path | None = None,
    bf16: bool = False,
) -> Engine:
    """Load a model into an engine.

    Args:
        name: one of `ENGINE_NAMES`; auto: the first of `preferred_engines` that can run the model.
        model: serialised ONNX model.
        threads: CPU threads; None: all available.
        mode: optimise for latency or throughput.
        cache: folder for compiled models; None: no cache.
        bf16: compute in bfloat16; auto then means OpenVINO.

    Raises:
        UsageError: there is no such engine or mode, or the engine has no bfloat16.
        EngineError: the engine cannot be loaded or cannot run the model, or the CPU has no bfloat16.
    """
    if name not in ENGINE_NAMES:
        raise UsageError(f"unknown engine {name!r}: choose {', '.join(ENGINE_NAMES)}")
    if mode not in {"latency", "throughput"}:
        raise UsageError(f"unknown mode {mode!r}: choose latency or throughput")
    if bf16 and name not in {AUTO, OpenVinoEngine.name}:
        raise UsageError(f"{name} does not support bfloat16: choose the engine openvino or the precision fp32")
    if bf16:
        return OpenVinoEngine(model, threads, mode=mode, cache=cache, bf16=True)
    if name != AUTO:
        return _FACTORIES[name](model, threads, mode=mode, cache=cache)
    *first, last = preferred_engines()
    for engine in first:
        try:
            return _FACTORIES[engine](model, threads, mode=mode, cache=cache)
        except EngineError:
            # The next engine runs the model, or its error is raised.
            continue
    return _FACTORIES[last](model, threads, mode=mode, cache=cache)


_RUNTIMES = ("openvino", "onnxruntime", "onnxruntime-gpu")
_BATCH_SIZES = {"latency": 1, "throughput": 16}
_ROUNDS = 3
_RUNS_PER_ROUND = 4
_MIN_SPEEDUP_SHARE = 0.95
"""An engine replaces the preferred one only if it needs less than this share of its time, to ignore noise."""

Timer = Callable[[], float]


def cached_fastest_engine(model: bytes, threads: int | None, mode: EngineMode, folder: Path) -> str | None:
    """Return the result of an earlier `benchmark_engines`, or None."""
    try:
        result = json.loads(_result_path(model, threads, mode, folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = result.get("engine") if isinstance(result, dict) else None
    return name if name in preferred_engines() else None


def benchmark_engines(
    model: bytes, threads: int | None, mode: EngineMode, folder: Path, clock: Timer = time.perf_counter
) -> str:
    """Time every engine that can run a model; save the fastest if the folder is writable, and return it.

    Takes about a second, which pays off for many images; a single one should use `preferred_engines`. The batch size
    is 1 for latency and 16 for throughput. The preferred engine is returned unless another is clearly faster. Raises
    `EngineError` if no engine can run the model.
    """
    engines: dict[str, Engine] = {}
    failed = EngineError("no inference engine is installed: pip install openvino")
    for name in preferred_engines():
        try:
            engines[name] = create_engine(name, model, threads, mode=mode)
        except EngineError as error:
            failed = error
    if not engines:
        raise failed
    seconds = _median_times(engines, mode, clock)
    preferred = next(iter(seconds))
    fastest = min(seconds, key=lambda name: seconds[name])
    chosen = fastest if seconds[fastest] < _MIN_SPEEDUP_SHARE * seconds[preferred] else preferred
    result = {"engine": chosen, "seconds": seconds}
    with suppress(OSError):
        write_json(_result_path(model, threads, mode, folder), result)
    return chosen


def fastest_engine(model: bytes, threads: int | None, mode: EngineMode, folder: Path, *, measure: bool) -> str:
    """Return the fastest measured engine; if it is not known, measure it or return auto."""
    known = cached_fastest_engine(model, threads, mode, folder)
    if known is None and measure:
        return benchmark_engines(model, threads, mode, folder)
    return known or AUTO


def _median_times(engines: dict[str, Engine], mode: EngineMode, clock: Timer) -> dict[str, float]:
    side = next(iter(engines.values())).signature.images[1] or 224
    shape = (_BATCH_SIZES[mode], side, side, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            engine.run(images)  # warm-up: the CPU caches hold data of the other engine
            for _ in range(_RUNS_PER_ROUND):
                start = clock()
                engine.run(images)
                times[name].append(clock() - start)
    return {name: median(values) for name, values in times.items()}


def _result_path(model: bytes, threads: int | None, mode: EngineMode, folder: Path) -> Path:
    """Return the path of the result, which depends on model, machine, versions and settings."""
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
