"""The interface of an inference engine, and the checks of its model signature and outputs."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol, Self

import numpy as np

from assay.core.errors import AssayError

INPUT = "images"


class EngineError(AssayError):
    """An engine cannot run a model; the message is a reason without the name of the file."""

    @classmethod
    def from_runtime(cls, error: Exception) -> Self:
        """Return an error with the first informative line of a runtime's error message."""
        lines = [line.strip() for line in str(error).splitlines()]
        # OpenVINO starts with the location in its source.
        informative = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
        return cls((informative or lines or [type(error).__name__])[0].rstrip(".")[:300])


class ModelOutputs(NamedTuple):
    """Outputs of a model for N images."""

    logits: np.ndarray
    """float32 [N, C], before temperature and softmax."""
    embedding: np.ndarray
    """float32 [N, D], the feature map averaged over its area."""
    featuremap: np.ndarray
    """float32 [N, K, h, w], the output of the backbone."""


class ModelSignature(NamedTuple):
    """Shapes of a model's input and logits; None is a dynamic length."""

    images: tuple[int | None, ...]
    """[None, S, S, 3]"""
    logits: tuple[int | None, ...]
    """[None, C]"""

    def check(self, kind: str) -> None:
        """Raise `EngineError` unless the input is uint8 [N, S, S, 3] and the logits are [N, C].

        `kind` is the element type of the input in the runtime's notation.
        """
        if "u8" not in kind and "uint8" not in kind:
            raise EngineError(f"its input has type {kind}, not uint8")
        if len(self.images) != 4 or self.images[3] != 3 or self.images[1] != self.images[2]:
            raise EngineError(f"its input has shape {list(self.images)}, not [N, S, S, 3]")
        if len(self.logits) != 2:
            raise EngineError(f"its logits have shape {list(self.logits)}, not [N, C]")

    def check_batch(self, images: np.ndarray) -> None:
        """Raise `EngineError` unless images are uint8 [N, S, S, 3] of the size of the model, N ≥ 1.

        With one thread, OpenVINO does not report that a batch does not fit: it returns empty outputs.
        """
        _, side, _, _ = self.images
        same = images.ndim == 4 and all(
            known in {None, found} for known, found in zip(self.images, images.shape, strict=True)
        )
        if images.dtype != np.uint8 or not same or not len(images):
            raise EngineError(
                f"the images must be uint8 [N, {side}, {side}, 3], not {images.dtype} {list(images.shape)}"
            )


class Engine(Protocol):
    """A model loaded by an inference runtime. Thread-safe: every call of `run` uses one stream."""

    @property
    def name(self) -> str:
        """Name of the engine, as in `ENGINE_NAMES`."""

    @property
    def signature(self) -> ModelSignature:
        """Shapes of the model's input and logits."""

    @property
    def from_cache(self) -> bool:
        """Whether the compiled model is from the cache, which holds only models that have passed `check_engine`."""

    def run(self, images: np.ndarray) -> ModelOutputs:
        """Return the outputs for uint8 images [N, S, S, 3], N ≥ 1; the arrays are not reused by later calls.

        Raises:
            EngineError: the images do not fit the model, or the runtime fails.
        """

    def store(self) -> None:
        """Store the compiled model in the cache, if there is one; called when it has passed `check_engine`."""


class EngineFactory(Protocol):
    """Loads a model into an engine."""

    def __call__(
        self, model: bytes, threads: int | None = None, *, streams: int = 1, cache: Path | None = None
    ) -> Engine:
        """Load a serialised ONNX model with the input `images`, uint8 [N, S, S, 3], and the outputs of `ModelOutputs`.

        Args:
            model: the model.
            threads: CPU threads; None: all available.
            streams: concurrent calls that the threads are divided among.
            cache: folder for compiled models; None: no cache.

        Raises:
            EngineError: the runtime is not installed or cannot run the model.
        """


def import_runtime(module: str, name: str) -> ModuleType:
    """Import an inference runtime that is called `name`; `EngineError` if that fails."""
    try:
        return import_module(module)
    except (ImportError, OSError) as error:
        raise EngineError(f"cannot load {name} ({EngineError.from_runtime(error)}): pip install {module}") from None


def synthetic_images(side: int) -> np.ndarray:
    """Return reproducible test images, uint8 [4, side, side, 3]: black, white, a ramp and noise."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    shape = (side, side, 3)
    return np.stack(
        [
            np.zeros(shape, np.uint8),
            np.full(shape, 255, np.uint8),
            np.broadcast_to(ramp[:, None, None], shape),
            noise,
        ]
    )


def check_engine(engine: Engine, side: int, classes: int) -> None:
    """Run an engine on synthetic images, check all outputs, including the feature map, and store the compiled model.

    A compiled model from the cache has been checked by the process that stored it. Raises `EngineError` if the engine
    cannot run, or an output is not finite float32 of the expected shape.
    """
    if engine.from_cache:
        return
    squares = synthetic_images(side)
    outputs = engine.run(squares)
    check_outputs(outputs, len(squares), classes)
    require_finite("featuremap", outputs.featuremap)
    engine.store()


def check_outputs(outputs: ModelOutputs, count: int, classes: int) -> None:
    """Check the outputs of one batch of `count` images.

    The feature map, which only explanations use, is not checked for NaN. Raises `EngineError` if an output is not
    float32 of its shape, or logits or embedding are not finite.
    """
    width, area = outputs.embedding.shape[-1:], outputs.featuremap.shape[2:4]
    shapes = ((count, classes), (count, *width), (count, *width, *area))
    for name, values, shape in zip(ModelOutputs._fields, outputs, shapes, strict=True):
        if values.dtype != np.float32 or values.shape != shape or not values.size:
            raise EngineError(f"its output {name} is {values.dtype} {list(values.shape)}")
    require_finite("logits", outputs.logits)
    require_finite("embedding", outputs.embedding)


def require_finite(name: str, values: np.ndarray) -> None:
    """Raise `EngineError` for NaN or infinite values."""
    if not np.isfinite(values).all():
        raise EngineError(f"its output {name} is not finite")
