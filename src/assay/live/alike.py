"""Whether a shot is nearly the same as one of the latest: such photos teach nothing, and flatter a test.

How likeness is measured comes from outside; knows nothing of files.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_LATEST = 30
"""Shots that a new one is compared with: enough for a pause and a return, few enough to take no time."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How likeness is measured.

    Attributes:
        thumbnail: from a picture, uint8 [H, W, 3], to a gray square, uint8 [T, T].
        likeness: of N pairs of such squares, [N, T, T] each: float32 [N].
        least: likeness from which two count as the same.
    """

    thumbnail: Callable[[np.ndarray], np.ndarray]
    likeness: Callable[[np.ndarray, np.ndarray], np.ndarray]
    least: float


class RecentShots:
    """The latest shots of each class."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._thumbnails: dict[str, deque[np.ndarray]] = {}

    def repeats(self, label: str, pixels: np.ndarray) -> bool:
        """Tell whether a picture is nearly the same as a recent shot of its class; remember it."""
        thumbnail = self._measure.thumbnail(pixels)
        kept = self._thumbnails.setdefault(label, deque(maxlen=_LATEST))
        found = False
        if kept:
            others = np.stack([*kept])
            same = np.broadcast_to(thumbnail, others.shape)
            found = bool((self._measure.likeness(same, others) >= self._measure.least).any())
        kept.append(thumbnail)
        return found
