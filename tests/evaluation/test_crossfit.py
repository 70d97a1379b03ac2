"""A temperature is kept when it helps photos that did not fit it, and only then."""

from dataclasses import replace

import numpy as np
import pytest

from assay.core.errors import AssayError
from assay.evaluation import Predictions, apply_temperature, measure_calibration
from assay.evaluation.temperature_scaling import calibration_scores, fit_calibration


def drawn(count: int, seed: int, heat: float = 1.0) -> Predictions:
    """Labels drawn from the probabilities told; `heat` above 1 then makes the classifier boast."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 3)) * 2
    honest = apply_temperature(logits, 1.0)
    names = tuple(str(number) for number in range(count))
    return Predictions(
        classes=("a", "b", "c"),
        ids=names,
        paths=names,
        actual=np.array([rng.choice(3, p=row) for row in honest], dtype=np.int64),
        probabilities=apply_temperature(logits * heat, 1.0),
    )


@pytest.mark.parametrize("heat", [0.4, 3.0])
def test_the_heat_is_found_and_other_photos_gain(heat: float):
    fit = fit_calibration(drawn(800, seed=0, heat=heat))
    assert fit.temperature == pytest.approx(heat, rel=0.15)
    assert fit.after.nll < fit.before.nll
    assert fit.after.ece < fit.before.ece / 2
    assert fit.after.brier < fit.before.brier
    others = drawn(4000, seed=1, heat=heat)
    calibrated = replace(others, probabilities=apply_temperature(others.log_probabilities, fit.temperature))
    assert (measure_calibration(calibrated).ece or 1) < (measure_calibration(others).ece or 0) / 2


def test_an_honest_classifier_is_hardly_ever_made_worse():
    kept, losses = 0, []
    others = drawn(4000, seed=99)
    for seed in range(40):
        fit = fit_calibration(drawn(60, seed))
        kept += fit.temperature == 1.0
        scaled = apply_temperature(others.log_probabilities, fit.temperature)
        losses.append(calibration_scores(replace(others, probabilities=scaled)).nll)
    assert kept >= 20
    assert np.mean(losses) < calibration_scores(others).nll + 0.01


def test_where_it_stays_the_figures_stay():
    fits = [fit_calibration(drawn(60, seed)) for seed in range(40)]
    stayed = [fit for fit in fits if fit.temperature == 1.0]
    assert stayed
    assert all(fit.after == fit.before for fit in stayed)
    assert any(fit.fitted != 1.0 for fit in stayed)


def test_a_handful_of_photos_changes_nothing():
    fit = fit_calibration(drawn(9, seed=0, heat=5.0))
    assert fit.temperature == 1.0
    assert fit.count == 9


def test_photos_all_right_ask_for_no_more_confidence():
    sample = drawn(200, seed=3, heat=0.5)
    flawless = sample.take(sample.correct)
    assert fit_calibration(flawless).temperature == 1.0


def test_the_order_of_calls_changes_nothing_and_the_digits_are_few():
    first, second = (fit_calibration(drawn(300, seed=5, heat=2.0)) for _ in range(2))
    assert first == second
    assert float(f"{first.temperature:.4g}") == first.temperature
    assert first.to_dict()["before"]["ece"] == first.before.ece


def test_no_photos_is_an_error():
    with pytest.raises(AssayError, match="no photos"):
        fit_calibration(drawn(10, seed=0).take([]))
