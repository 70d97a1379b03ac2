"""Whether an exported file answers as its bundle does, on real photos. Knows nothing of how it was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np

from assay.bundle import Precision
from assay.errors import AssayError
from assay.image import Preprocess
from assay.inference import Failure, Outputs
from assay.inference.inputs import read_photo
from assay.workflow.export.runtimes import Run

MOST = 32
"""Photos that are compared: spread evenly over those given."""

TOLERANCE: Mapping[Precision, float] = MappingProxyType({"fp32": 1e-3, "int8": 1.0})
"""Largest |Δlogit| between a file and the bundle's model of the same precision with which it is written.

Runtimes round the steps of an int8 model differently, and one step early in the network grows until its end:
0.2 was seen between ONNX Runtime and OpenVINO where all labels were the same.
"""

_BATCH = 8


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an exported file differs from its bundle.

    Attributes:
        photos: how many were compared.
        difference: largest |Δlogit|; NaN where an output is not finite or of another shape.
        labels_differ: photos for which another class is the most probable.
    """

    photos: int
    difference: float
    labels_differ: int


def read_squares(photos: Sequence[Path], preprocess: Preprocess) -> np.ndarray:
    """Read photos to compare on, at most `MOST`; those that cannot be read are passed over.

    Returns:
        uint8 [n, S, S, 3], n ≥ 1.

    Raises:
        AssayError: none of them can be read.
    """
    step = max(1, len(photos) / MOST)
    chosen = [photos[int(place * step)] for place in range(min(len(photos), MOST))]
    read = [read_photo(photo, preprocess) for photo in chosen]
    squares = [one for one in read if not isinstance(one, Failure)]
    if not squares:
        first = next(one for one in read if isinstance(one, Failure))
        raise AssayError(f"{first}: give --check photos that can be read")
    return np.stack(squares)


def compare_outputs(run: Run, squares: np.ndarray, expected: Outputs) -> Agreement:
    """Compare an exported file with its bundle.

    The first photo runs alone and the others in batches, since runtimes choose other kernels for a batch of
    one.

    Args:
        run: the exported file.
        squares: uint8 [n, S, S, 3].
        expected: what the bundle says of them.
    """
    starts = [0, *range(1, len(squares), _BATCH), len(squares)]
    parts = [run(squares[start:end]) for start, end in pairwise(starts)]
    got = Outputs(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    if [one.shape for one in got] != [one.shape for one in expected]:
        return Agreement(len(squares), float("nan"), len(squares))
    differ = int((got.logits.argmax(axis=1) != expected.logits.argmax(axis=1)).sum())
    return Agreement(len(squares), float(np.abs(got.logits - expected.logits).max()), differ)
