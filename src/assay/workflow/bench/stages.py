"""Where the time goes between a file and its answer: decoding, preprocessing, inference."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from assay.image import Preprocess
from assay.recipe import PreprocessSpec

Clock = Callable[[], float]
"""Seconds since any one moment."""


class Stages(NamedTuple):
    """Seconds for one photo."""

    decode: float
    """From the file's bytes to its pixels."""
    preprocess: float
    """From pixels to the network's square."""
    inference: float
    """From the square to logits."""


class StagedReader(Preprocess):
    """Preprocessing that knows how long it took: the very path that every photo goes, with a clock in it.

    Attributes:
        seconds: that the last photo took from its pixels to the square.
    """

    def __init__(self, spec: PreprocessSpec, clock: Clock = time.perf_counter) -> None:
        super().__init__(spec)
        self._clock = clock
        self.seconds = 0.0

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Cut out and scale, as `Preprocess` does."""
        started = self._clock()
        square = super().__call__(pixels)
        self.seconds = self._clock() - started
        return square

    def measure(self, data: bytes, run: Callable[[np.ndarray], object]) -> Stages:
        """Answer one photo.

        Args:
            data: the whole file.
            run: takes uint8 [1, S, S, 3].
        """
        started = self._clock()
        square = self.read(data)
        read = self._clock()
        run(square[np.newaxis])
        ended = self._clock()
        return Stages(read - started - self.seconds, self.seconds, ended - read)
