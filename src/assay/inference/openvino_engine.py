"""The OpenVINO engine, with an on-disk cache of compiled models."""

import hashlib
import sys
from collections import deque
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from itertools import cycle
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from assay.core.cpu import bf16_instructions, cpu_count, isa_limit
from assay.core.files import atomic_write
from assay.core.hidden_modules import hidden_modules
from assay.core.lazy_imports import lazy_attributes
from assay.inference.engine import INPUT, EngineError, ModelOutputs, ModelSignature, import_runtime

MAX_CACHE_BYTES = 512 << 20
"""Default size limit; the least recently used models are removed first."""

_BLOB_SUFFIX = ".blob"
_MAX_COPIES_BYTES = 256 << 20
"""Limit on the sizes of a model's copies together; a larger model is compiled once, with streams of OpenVINO."""


class CompiledModelCache:
    """A folder of compiled models of at most `limit` bytes, shared by processes and verified before use."""

    def __init__(self, folder: Path, limit: int = MAX_CACHE_BYTES) -> None:
        self._folder = folder
        self._limit = limit

    def get(self, key: str) -> bytes | None:
        """Return a compiled model, or None if it is missing or damaged; `key` is hexadecimal digits."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            path.touch()
        except OSError:
            return None
        digest, blob = content[:32], content[32:]
        return blob if hashlib.sha256(blob).digest() == digest else None

    def put(self, key: str, blob: bytes) -> None:
        """Store a compiled model unless it is larger than the limit; errors are ignored."""
        if len(blob) > self._limit:
            return
        with suppress(OSError):
            with atomic_write(self._path(key)) as temporary, temporary.open("wb") as stream:
                stream.write(hashlib.sha256(blob).digest())
                stream.write(blob)
            self._tidy()

    def forget(self, key: str) -> None:
        """Remove a compiled model."""
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_BLOB_SUFFIX}"

    def _tidy(self) -> None:
        files = [(file, file.stat()) for file in self._folder.glob(f"*{_BLOB_SUFFIX}")]
        total = sum(status.st_size for _, status in files)
        for file, status in sorted(files, key=lambda pair: pair[1].st_mtime):
            if total <= self._limit:
                break
            file.unlink(missing_ok=True)
            total -= status.st_size


class OpenVinoEngine:
    """An ONNX model compiled by OpenVINO for any batch size.

    A compiled model with one stream computes in the caller's thread, and one with several streams in threads of
    OpenVINO, which wake up on processors that are in use while others are idle. With callers that decode photos in turn
    on two processors, 15 % of the time was lost. So a model is compiled once for each stream, unless it is large.

    Args:
        model: serialised ONNX model.
        threads: CPU threads; None: all available.
        streams: concurrent calls; each uses `threads / streams` threads.
        cache: folder for compiled models that have been checked, which saves 0.1 to 0.4 s at start-up; None: no cache.
        bf16: compute in bfloat16.

    Raises:
        EngineError: OpenVINO is not installed or cannot run the model, or the CPU has no bfloat16.
    """

    name = "openvino"

    def __init__(
        self,
        model: bytes,
        threads: int | None = None,
        *,
        streams: int = 1,
        cache: Path | None = None,
        bf16: bool = False,
    ) -> None:
        openvino = import_openvino()
        capabilities = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") if bf16 else ()
        # OpenVINO reports bfloat16 even if oneDNN may not use it, and then cannot run the model.
        if bf16 and ("BF16" not in capabilities or (isa_limit() and not bf16_instructions())):
            raise EngineError("this CPU has no bfloat16 instructions; choose fp32")
        threads = threads or cpu_count()
        copies = streams if streams * len(model) <= _MAX_COPIES_BYTES else 1
        settings = {
            "PERFORMANCE_HINT": "LATENCY" if copies == streams else "THROUGHPUT",
            "NUM_STREAMS": streams // copies,
            "INFERENCE_NUM_THREADS": max(1, threads // copies),
            # By default OpenVINO uses bfloat16 where available, so that results would differ between machines.
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            # Two processes that pin their threads would choose the same CPUs.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._cache = None if cache is None else CompiledModelCache(cache)
            self._key = "" if cache is None else _cache_key(openvino, model, settings)
            self._models = self._stored_models(settings, copies)
            self._from_cache = bool(self._models)
            if not self._models:
                compiled = openvino_core().compile_model(_read_model(model), "CPU", settings)
                self._models = [compiled, *_import_models(_export_model(compiled), settings, copies - 1)]
            images, logits = self._models[0].input(INPUT), self._models[0].output("logits")
            self._signature = ModelSignature(_port_shape(images), _port_shape(logits))
        except RuntimeError as error:
            raise EngineError.from_runtime(error) from None
        self._next_model = cycle(self._models)
        self._idle: deque[Any] = deque()

    @property
    def signature(self) -> ModelSignature:
        """Shapes of the model."""
        return self._signature

    @property
    def from_cache(self) -> bool:
        """Whether the compiled model is from the cache."""
        return self._from_cache

    def store(self) -> None:
        """Store the compiled model in the cache, if there is one."""
        if self._cache is None or self._from_cache:
            return
        self._cache.put(self._key, _export_model(self._models[0]))

    def run(self, images: np.ndarray) -> ModelOutputs:
        """Return the outputs for uint8 images [N, S, S, 3]; see `Engine.run`."""
        self._signature.check_batch(images)
        request = self._request()
        try:
            request.infer([np.ascontiguousarray(images)])
            # The memory of the request is reused.
            return ModelOutputs(*(request.get_tensor(name).data.copy() for name in ModelOutputs._fields))
        except RuntimeError as error:
            raise EngineError.from_runtime(error) from None
        finally:
            self._idle.append(request)

    def _stored_models(self, settings: dict[str, Any], count: int) -> list[Any]:
        """Return the compiled model from the cache as many times; none if it is not there or cannot be used."""
        blob = None if self._cache is None else self._cache.get(self._key)
        if self._cache is None or blob is None:
            return []
        try:
            return _import_models(blob, settings, count)
        except RuntimeError:
            self._cache.forget(self._key)
            return []

    def _request(self) -> Any:
        """Take an idle request or create one; a request serves one thread at a time."""
        try:
            return self._idle.pop()
        except IndexError:
            return next(self._next_model).create_infer_request()


def _export_model(model: Any) -> bytes:
    stream = BytesIO()
    model.export_model(stream)
    return stream.getvalue()


def _import_models(blob: bytes, settings: dict[str, Any], count: int) -> list[Any]:
    return [openvino_core().import_model(blob, "CPU", settings) for _ in range(count)]


def _cache_key(openvino: ModuleType, model: bytes, settings: dict[str, Any]) -> str:
    core = openvino_core()
    machine = (core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES"))
    setting = repr(("checked", openvino.__version__, isa_limit(), *machine, sorted(settings.items())))
    return hashlib.sha256(hashlib.sha256(model).digest() + setting.encode()).hexdigest()


def _read_model(model: bytes) -> Any:
    graph = openvino_core().read_model(model)
    images = graph.input(INPUT)
    ModelSignature(_port_shape(images), _port_shape(graph.output("logits"))).check(str(images.element_type))
    return graph


_CONVERTER = "tools.ovc"
_importing = Lock()


def import_openvino() -> ModuleType:
    """Import OpenVINO, whose telemetry `assay.core.no_telemetry` has disabled; `EngineError` if that fails.

    The converter of models from other frameworks takes half of the time of the import. OpenVINO ignores its absence;
    `openvino.convert_model` then imports it on first use.
    """
    with _importing:
        if "openvino" in sys.modules:
            return import_runtime("openvino", "OpenVINO")
        with hidden_modules(f"openvino.{_CONVERTER}"):
            openvino = import_runtime("openvino", "OpenVINO")
        vars(openvino)["__getattr__"] = lazy_attributes("openvino", {"convert_model": _CONVERTER})
        _convert_first_arrays(openvino)
        return openvino


def _convert_first_arrays(openvino: ModuleType) -> None:
    """Convert an array of each type in this thread.

    The first conversion in a process initializes static variables of the binding and releases the interpreter lock
    meanwhile. A second thread that converts its first array then would hold that lock and wait for ever.
    """
    for dtype in (np.uint8, np.float32):
        _ = openvino.Tensor(np.zeros(1, dtype)).data


@lru_cache(maxsize=1)
def openvino_core() -> Any:
    """Return the single OpenVINO core of the process; `EngineError` if OpenVINO cannot be loaded.

    A core installs an alternate signal stack for the thread that creates it and frees it when it is destroyed. If
    the first of two cores is destroyed first, the thread keeps a dangling stack, and the next signal kills the
    process. Therefore the core is never destroyed.
    """
    return import_openvino().Core()


def _port_shape(port: Any) -> tuple[int | None, ...]:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise EngineError("the ranks of its input and logits are dynamic")
    return tuple(None if length.is_dynamic else length.get_length() for length in shape)
