"""The interface of an inference engine, and the checks of its model signature and outputs."""

from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from assay.core.errors import AssayError

INPUT = "images"

EngineMode = Literal["latency", "throughput"]
"""latency: the shortest time to one answer; throughput: the most answers a second, from whole batches or many
threads."""


class EngineError(AssayError):
    """A model that a runtime cannot run; the message is a reason without the file's name."""


class ModelOutputs(NamedTuple):
    """What a model says of N images."""

    logits: np.ndarray
    """float32 [N, C]: before temperature and softmax."""
    embedding: np.ndarray
    """float32 [N, D]: the feature map averaged over its area."""
    featuremap: np.ndarray
    """float32 [N, K, h, w]: what the backbone saw, and where."""


class ModelSignature(NamedTuple):
    """What a model takes and gives; None stands for a length that the model leaves open."""

    images: tuple[int | None, ...]
    """Shape of the input, [None, S, S, 3]."""
    logits: tuple[int | None, ...]
    """Shape of the logits, [None, C]."""


class Engine(Protocol):
    """A model made ready by one runtime; many threads may use it at once."""

    @property
    def name(self) -> str:
        """Name of the runtime, as in `ENGINES`."""

    @property
    def signature(self) -> ModelSignature:
        """Shapes of the model."""

    def run(self, images: np.ndarray) -> ModelOutputs:
        """Return the outputs for uint8 images [N, S, S, 3], N ≥ 1; later answers do not overwrite them."""


class EngineFactory(Protocol):
    """How a runtime makes a model ready."""

    def __call__(
        self, model: bytes, threads: int | None = None, *, mode: EngineMode = "latency", cache: Path | None = None
    ) -> Engine:
        """Make an engine of a serialised ONNX model.

        Args:
            model: takes `images`, uint8 [N, S, S, 3], and gives the fields of `ModelOutputs` under their names.
            threads: processors to use; none: all that this process may.
            mode: what to be quick at.
            cache: folder in which compiled models may be kept; none: nothing is written.

        Raises:
            EngineError: the runtime is not installed or cannot run the model.
        """


def check_signature(signature: ModelSignature, kind: str) -> None:
    """Refuse a model that takes something else than images.

    Args:
        signature: shapes of the model.
        kind: type of the input's elements as the runtime spells it.

    Raises:
        EngineError: the input is not uint8 [N, S, S, 3] or the logits are not [N, C].
    """
    images, logits = signature
    if "u8" not in kind and "uint8" not in kind:
        raise EngineError(f"its input holds {kind}, not uint8")
    if len(images) != 4 or images[3] != 3 or images[1] != images[2]:
        raise EngineError(f"its input is {list(images)}, not [N, S, S, 3]")
    if len(logits) != 2:
        raise EngineError(f"its logits are {list(logits)}, not [N, C]")


def first_error_line(error: Exception) -> str:
    """Return the first telling line of what a runtime says, which often runs over many."""
    lines = [line.strip() for line in str(error).splitlines()]
    # OpenVINO begins with the place in its own source.
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return (told or lines or [type(error).__name__])[0].rstrip(".")[:300]


def synthetic_images(side: int) -> np.ndarray:
    """Return photos that are the same everywhere, uint8 [4, side, side, 3]: black, white, a ramp, noise."""
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
    """Have an engine answer made-up photos and look at all it gives.

    Args:
        engine: the one to be used.
        side: side of its input in pixels.
        classes: C, how many classes it tells apart.

    Raises:
        EngineError: it cannot run, or an output is not finite float32 of its shape.
    """
    squares = synthetic_images(side)
    outputs = engine.run(squares)
    check_outputs(outputs, len(squares), classes)
    require_finite("featuremap", outputs.featuremap)


def check_outputs(outputs: ModelOutputs, count: int, classes: int) -> None:
    """Refuse outputs that are no answers: asked again of every batch, whatever the model did before.

    The feature map, of which only explanations are made, is not searched for NaN.

    Args:
        outputs: what an engine gives.
        count: N, how many photos it was given.
        classes: C, how many classes it tells apart.

    Raises:
        EngineError: an output is not float32 of its shape, or logits or embedding are not finite.
    """
    width, area = outputs.embedding.shape[-1:], outputs.featuremap.shape[2:4]
    shapes = ((count, classes), (count, *width), (count, *width, *area))
    for name, values, shape in zip(ModelOutputs._fields, outputs, shapes, strict=True):
        if values.dtype != np.float32 or values.shape != shape or not values.size:
            raise EngineError(f"it gives {name} {values.dtype} {list(values.shape)}")
    require_finite("logits", outputs.logits)
    require_finite("embedding", outputs.embedding)


def require_finite(name: str, values: np.ndarray) -> None:
    """Refuse numbers that are no answer.

    Raises:
        EngineError: one of them is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise EngineError(f"it gives {name} that are not finite")
