"""Measured stages of a prediction."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from assay.benchmark.worker import TimedPreprocess
from assay.image import Preprocess
from assay.recipe import PreprocessSpec


def test_stages_are_timed_separately(photo_files: list[Path]):
    # Read by: start, before the square, after it, after reading, after inference.
    ticks: Iterator[float] = iter([0.0, 5.0, 7.0, 7.5, 9.5])
    reader = TimedPreprocess(PreprocessSpec(size=32), clock=lambda: next(ticks))
    seen: list[np.ndarray] = []
    stages = reader.measure(photo_files[0].read_bytes(), seen.append)
    assert stages == pytest.approx((5.5, 2.0, 2.0))
    assert seen[0].shape == (1, 32, 32, 3)


def test_measured_preprocessing_equals_the_usual_one(photo_files: list[Path]):
    spec = PreprocessSpec(size=48, resize_mode="letterbox", roi=(0.1, 0.2, 0.7, 1.0))
    steps = count()
    reader = TimedPreprocess(spec, clock=lambda: float(next(steps)))
    for shot in photo_files:
        seen: list[np.ndarray] = []
        reader.measure(shot.read_bytes(), seen.append)
        assert np.array_equal(seen[0][0], Preprocess(spec).read(shot.read_bytes()))
