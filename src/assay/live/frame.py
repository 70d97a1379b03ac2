"""One picture of a stream, and what is said when something happens to the stream."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

Tell = Callable[[str], None]
"""Takes a sentence for the person who watches; called from any thread."""

ROUNDING: Final = 1e-6
"""Seconds by which differences of times may be too short for no other reason than floating point."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, upright; nobody changes them.
        number: of the picture since the source was first opened, from 0.
        time: in seconds; of a file since its beginning, otherwise by the clock. All that depends on time
            depends on this, so that a file gives the same answers however fast it is read.
        first: whether nothing was seen just before: the beginning, or after a lost connection.
    """

    pixels: np.ndarray
    number: int
    time: float
    first: bool = False
