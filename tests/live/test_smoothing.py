"""Smoothed predictions: fewer label changes, a bounded delay, valid probabilities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.inference import Prediction
from assay.live import PredictionSmoother, SmoothingConfig

NOTHING = SmoothingConfig(time_constant=0, margin=0, hold=0)


def changes(shares: np.ndarray, fps: float, steadiness: SmoothingConfig) -> list[float]:
    """Return when the result changed, the first time left out."""
    smoother, times = PredictionSmoother(steadiness), []
    for number, share in enumerate(shares.tolist()):
        label = "a" if share >= 0.5 else "b"
        result = Prediction(label, max(share, 1 - share), {"a": share, "b": 1 - share})
        if smoother.update(result, number / fps).changed:
            times.append(number / fps)
    return times[1:]


def test_smoothing_reduces_label_changes_tenfold():
    rng, fps, seconds = np.random.default_rng(0), 10, 300
    truth = (np.arange(seconds * fps) // (20 * fps)) % 2 == 0
    noisy = np.clip(np.where(truth, 0.65, 0.35) + rng.normal(0, 0.25, len(truth)), 0, 1)
    plain, smooth = changes(noisy, fps, NOTHING), changes(noisy, fps, SmoothingConfig())
    real = np.arange(20, seconds, 20)
    assert len(plain) > 10 * len(smooth)
    # No real change is missed, and all are reported soon.
    assert len(smooth) == len(real)
    assert max(smooth - real) < 4


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([0.0, 0.2, 1.0, 5.0]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([1.0, 2.0, 30.0]),
)
def test_clear_change_is_reported_within_the_stated_delay(seconds: float, margin: float, hold: float, fps: float):
    steadiness = SmoothingConfig(seconds, margin, hold)
    frames = np.zeros(int(60 * fps))
    frames[: int(20 * fps)] = 1
    (result,) = changes(frames, fps, steadiness)
    # Of the lead and of the hold, each is noticed at the next frame.
    assert hold <= result - 20 + 1e-9
    assert result - 20 <= steadiness.delay + 2 / fps + 1e-9


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 10)), min_size=1))
def test_smoothed_probabilities_are_valid(steps: list[tuple[float, float]]):
    smoother, time = PredictionSmoother(SmoothingConfig()), 0.0
    for share, passed in steps:
        time += passed
        result = smoother.update(Prediction("a", share, {"a": share, "b": 1 - share}), time)
        assert sum(result.probabilities.values()) == pytest.approx(1)
        assert all(-1e-12 <= value <= 1 + 1e-12 for value in result.probabilities.values())
        assert result.confidence == result.probabilities[result.label]


def test_without_smoothing_each_frame_decides(make_prediction):
    smoother = PredictionSmoother(NOTHING)
    assert [smoother.update(make_prediction(a), t).label for t, a in enumerate([0.9, 0.4, 0.6])] == [
        "a",
        "b",
        "a",
    ]


def test_average_does_not_depend_on_the_frame_rate(make_prediction):
    ends = []
    for fps in (2, 50):
        smoother = PredictionSmoother(SmoothingConfig(time_constant=1, hold=100))
        smoother.update(make_prediction(1), 0)
        for number in range(1, 3 * fps + 1):
            result = smoother.update(make_prediction(0), number / fps)
        ends.append(result.probabilities["a"])
    assert ends == pytest.approx([np.exp(-3)] * 2)


def test_unknown_is_smoothed_and_keeps_its_reason(make_prediction):
    smoother = PredictionSmoother(SmoothingConfig(time_constant=1, margin=0.1, hold=0.5))
    results = [smoother.update(make_prediction(0.9, unknown=10 <= t < 12 or t >= 30), t / 10) for t in range(60)]
    values = [result.unknown for result in results]
    assert values[10:30] == [False] * 20
    assert values[-1]
    assert results[-1].reason == "low_confidence"
    assert sum(result.changed for result in results) == 2
    assert all(result.label == "a" for result in results)


def test_without_abstention_unknown_is_none(make_prediction):
    result = PredictionSmoother(SmoothingConfig()).update(make_prediction(0.9), 0)
    assert result.unknown is None
    assert result.reason is None


def test_first_frame_decides_after_a_restart(make_prediction):
    smoother = PredictionSmoother(SmoothingConfig())
    smoother.update(make_prediction(1), 0)
    smoother.reset()
    result = smoother.update(make_prediction(0), 0.01)
    assert (result.label, result.confidence, result.changed) == ("b", 1, True)
