"""What is asked of a runtime: bytes of an ONNX model in, arrays out.

Knows nothing of files, classes or photos, nor of any one runtime.
"""

from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from assay.errors import AssayError

INPUT = "images"

Mode = Literal["latency", "throughput"]
"""latency: the shortest time to one answer; throughput: the most answers a second, from whole batches or many
threads."""


class EngineError(AssayError):
    """A model that a runtime cannot run; the message is a reason without the file's name."""


class Outputs(NamedTuple):
    """What a model says of N images."""

    logits: np.ndarray
    """float32 [N, C]: before temperature and softmax."""
    embedding: np.ndarray
    """float32 [N, D]: the feature map averaged over its area."""
    featuremap: np.ndarray
    """float32 [N, K, h, w]: what the backbone saw, and where."""


class Signature(NamedTuple):
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
    def signature(self) -> Signature:
        """Shapes of the model."""

    def run(self, images: np.ndarray) -> Outputs:
        """Return the outputs for uint8 images [N, S, S, 3], N ≥ 1; later answers do not overwrite them."""


class MakeEngine(Protocol):
    """How a runtime makes a model ready."""

    def __call__(
        self, model: bytes, threads: int | None = None, *, mode: Mode = "latency", cache: Path | None = None
    ) -> Engine:
        """Make an engine of a serialised ONNX model.

        Args:
            model: takes `images`, uint8 [N, S, S, 3], and gives the fields of `Outputs` under their names.
            threads: processors to use; none: all that this process may.
            mode: what to be quick at.
            cache: folder in which compiled models may be kept; none: nothing is written.

        Raises:
            EngineError: the runtime is not installed or cannot run the model.
        """


def check_signature(signature: Signature, kind: str) -> None:
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


def reason(error: Exception) -> str:
    """Return the first telling line of what a runtime says, which often runs over many."""
    lines = [line.strip() for line in str(error).splitlines()]
    # OpenVINO begins with the place in its own source.
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return (told or lines or [type(error).__name__])[0].rstrip(".")[:300]
