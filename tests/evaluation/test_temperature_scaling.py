"""Temperature scaling and cross-fitted calibration."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from assay.core.errors import AssayError
from assay.evaluation import (
    Predictions,
    apply_temperature,
    fit_temperature,
    measure_calibration,
    negative_log_likelihood,
)
from assay.evaluation.predictions import FloatArray, IntArray
from assay.evaluation.temperature_scaling import MAX_TEMPERATURE, MIN_TEMPERATURE, calibration_scores, fit_calibration


def well_calibrated(count: int, classes: int, seed: int) -> tuple[FloatArray, IntArray]:
    """Logits whose softmax is the very chance of each label."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=1.5, size=(count, classes))
    chances = apply_temperature(logits, 1)
    return logits, (chances.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1).clip(max=classes - 1)


@pytest.mark.parametrize("true", [0.4, 1.0, 1.7, 5.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_true_temperature_is_found(true: float, classes: int):
    logits, actual = well_calibrated(20_000, classes, seed=classes)
    found = fit_temperature(logits * true, actual)
    assert found.value == pytest.approx(true, rel=0.05)
    assert not found.at_limit


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.integers(1, 60), st.floats(0.01, 100), st.integers(0, 10_000))
@example(classes=5, count=1, scale=49.0, seed=3)
def test_fit_never_increases_the_loss_and_stays_within_limits(classes: int, count: int, scale: float, seed: int):
    rng = np.random.default_rng(seed)
    logits, actual = scale * rng.normal(size=(count, classes)), rng.integers(0, classes, count)
    found = fit_temperature(logits, actual)
    assert MIN_TEMPERATURE * 0.999 <= found.value <= MAX_TEMPERATURE * 1.001
    assert found.after <= found.before
    assert found.after == pytest.approx(negative_log_likelihood(logits, actual, found.value))
    grid = [negative_log_likelihood(logits, actual, t) for t in np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, 200)]
    flawless = (logits.argmax(axis=1) == actual).all()
    assert flawless or found.after <= min(grid) + 1e-6


@given(st.floats(0.05, 20), st.integers(0, 1000))
def test_predicted_class_never_changes(temperature: float, seed: int):
    logits = np.random.default_rng(seed).normal(size=(20, 4)) * 3
    cooled = apply_temperature(logits, temperature)
    assert (cooled.argmax(axis=1) == logits.argmax(axis=1)).all()
    np.testing.assert_allclose(cooled.sum(axis=1), 1)


@given(st.floats(-50, 50), st.integers(0, 1000))
def test_log_probabilities_can_be_used_as_logits(shift: float, seed: int):
    logits = np.random.default_rng(seed).normal(size=(20, 4)) * 3
    logs = np.log(apply_temperature(logits + shift, 1))
    np.testing.assert_allclose(apply_temperature(logs, 2.5), apply_temperature(logits, 2.5), atol=1e-9)


def test_negative_log_likelihood_is_the_log_loss():
    logits, actual = well_calibrated(200, 3, seed=1)
    expected = log_loss(actual, apply_temperature(logits, 1.3), labels=[0, 1, 2])
    assert negative_log_likelihood(logits, actual, 1.3) == pytest.approx(expected)


def test_confidence_is_not_raised_without_mistakes():
    actual = np.arange(30) % 3
    timid = np.eye(3)[actual] * 0.5
    assert fit_temperature(timid, actual).value == pytest.approx(1, abs=1e-3)


def test_uninformative_logits_stop_at_the_limit():
    actual = np.arange(30) % 3
    found = fit_temperature(np.eye(3)[(actual + 1) % 3] * 9, actual)
    assert found.value == pytest.approx(MAX_TEMPERATURE, rel=1e-3)
    assert found.at_limit


def test_huge_logits_do_not_overflow():
    found = fit_temperature(np.array([[1e5, 0.0], [1e5, 0.0], [0.0, 1e5]]), np.array([0, 1, 1]))
    assert np.isfinite([found.value, found.before, found.after]).all()


def test_empty_and_mismatched_inputs_raise():
    with pytest.raises(AssayError, match="no photos to calibrate on"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    with pytest.raises(ValueError, match="do not fit"):
        fit_temperature(np.zeros((2, 3)), np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(np.array([[np.nan, 0.0]]), np.zeros(1, dtype=np.int64))


def drawn(count: int, seed: int, heat: float = 1.0) -> Predictions:
    """Labels drawn from the probabilities, which `heat` above 1 then makes overconfident."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 3)) * 2
    well_calibrated = apply_temperature(logits, 1.0)
    names = tuple(str(number) for number in range(count))
    return Predictions(
        classes=("a", "b", "c"),
        ids=names,
        paths=names,
        actual=np.array([rng.choice(3, p=row) for row in well_calibrated], dtype=np.int64),
        probabilities=apply_temperature(logits * heat, 1.0),
    )


@pytest.mark.parametrize("heat", [0.4, 3.0])
def test_calibration_finds_the_temperature_and_improves_other_images(heat: float):
    fit = fit_calibration(drawn(800, seed=0, heat=heat))
    assert fit.temperature == pytest.approx(heat, rel=0.15)
    assert fit.after.nll < fit.before.nll
    assert fit.after.ece < fit.before.ece / 2
    assert fit.after.brier < fit.before.brier
    others = drawn(4000, seed=1, heat=heat)
    calibrated = replace(others, probabilities=apply_temperature(others.log_probabilities, fit.temperature))
    assert (measure_calibration(calibrated).ece or 1) < (measure_calibration(others).ece or 0) / 2


def test_calibrated_classifier_is_rarely_made_worse():
    kept, losses = 0, []
    others = drawn(4000, seed=99)
    for seed in range(40):
        fit = fit_calibration(drawn(60, seed))
        kept += fit.temperature == 1.0
        scaled = apply_temperature(others.log_probabilities, fit.temperature)
        losses.append(calibration_scores(replace(others, probabilities=scaled)).nll)
    assert kept >= 20
    assert np.mean(losses) < calibration_scores(others).nll + 0.01


def test_unchanged_temperature_keeps_the_scores():
    fits = [fit_calibration(drawn(60, seed)) for seed in range(40)]
    stayed = [fit for fit in fits if fit.temperature == 1.0]
    assert stayed
    assert all(fit.after == fit.before for fit in stayed)
    assert any(fit.fitted != 1.0 for fit in stayed)


def test_few_images_keep_temperature_one():
    fit = fit_calibration(drawn(9, seed=0, heat=5.0))
    assert fit.temperature == 1.0
    assert fit.count == 9


def repeated(sample: Predictions, times: int) -> Predictions:
    """Every image `times` times."""
    names = tuple(f"{name}-{number}" for name in sample.ids for number in range(times))
    probabilities = np.repeat(sample.probabilities, times, axis=0)
    return replace(sample, ids=names, paths=names, actual=np.repeat(sample.actual, times), probabilities=probabilities)


def test_copies_of_images_do_not_prove_a_temperature():
    samples = [drawn(20, seed) for seed in range(40)]
    groups = np.repeat(np.arange(20), 10).tolist()
    changed = [fit_calibration(repeated(sample, 10), groups).temperature != 1.0 for sample in samples]
    assert np.mean(changed) <= 0.25
    alone = [fit_calibration(sample).temperature != 1.0 for sample in samples]
    assert changed == alone


@pytest.mark.parametrize("absent", [1, 2, 10])
def test_images_whose_class_was_absent_in_their_fold_do_not_change_the_temperature(absent: int):
    sample = drawn(200, seed=6)
    first_two = sample.probabilities[:, :2] / sample.probabilities[:, :2].sum(axis=1, keepdims=True)
    probabilities = np.concatenate([first_two, np.zeros((200, 1))], axis=1)
    actual = np.where(np.random.default_rng(0).random(200) < first_two[:, 0], 0, 1)
    known = replace(sample, probabilities=probabilities, actual=actual)
    mixed = replace(known, actual=np.concatenate([np.full(absent, 2), actual[absent:]]))
    expected = fit_calibration(known.take(np.arange(absent, 200)))
    found = fit_calibration(mixed)
    assert (found.temperature, found.fitted) == (expected.temperature, expected.fitted)
    assert found.count == 200


def test_perfect_predictions_keep_temperature_one():
    sample = drawn(200, seed=3, heat=0.5)
    flawless = sample.take(sample.correct)
    assert fit_calibration(flawless).temperature == 1.0


def test_result_is_reproducible_and_rounded():
    first, second = (fit_calibration(drawn(300, seed=5, heat=2.0)) for _ in range(2))
    assert first == second
    assert float(f"{first.temperature:.4g}") == first.temperature
    assert first.to_dict()["before"]["ece"] == first.before.ece


def test_no_images_raise():
    with pytest.raises(AssayError, match="no photos"):
        fit_calibration(drawn(10, seed=0).take([]))
