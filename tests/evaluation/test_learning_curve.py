"""Learning curves: intervals of correlated folds, and extrapolation by a power law."""

import json

import numpy as np
import pytest

from assay.evaluation.intervals import wilson_interval
from assay.evaluation.learning_curve import CurvePoint, LearningCurve, curve_point, extrapolate


def power_law(count: int, half: float = 0.001) -> CurvePoint:
    score = 1 - 2 * count**-0.5
    return CurvePoint(count, score, score - half, score + half)


def test_points_have_mean_and_corrected_interval():
    point = curve_point([79, 81], [0.7, 0.8], 0.25, 10_000)
    assert (point.images, point.score) == (80, pytest.approx(0.75))
    # Variance 0.005, times 1/2 + 0.25.
    assert point.high - point.score == pytest.approx(1.96 * (0.005 * 0.75) ** 0.5, rel=1e-4)
    assert point.score - point.low == pytest.approx(point.high - point.score)


def test_intervals_stay_between_0_and_1():
    point = curve_point([10, 10, 10], [0.0, 1.0, 1.0], 1.0, 1_000)
    assert (point.low, point.high) == (0, 1)


@pytest.mark.parametrize("score", [0.0, 0.5, 0.98, 1.0])
def test_folds_that_agree_leave_the_interval_of_the_held_out_images(score: float):
    point = curve_point([80] * 5, [score] * 5, 0.25, 100)
    assert (point.low, point.high) == pytest.approx(wilson_interval(round(100 * score), 100))


def test_power_law_is_continued():
    points = [power_law(count) for count in (100, 200, 300, 400)]
    twice, four = extrapolate(points, (800, 1600))
    assert (twice.images, four.images) == (800, 1600)
    assert twice.score == pytest.approx(1 - 2 * 800**-0.5, abs=1e-6)
    assert four.score == pytest.approx(1 - 2 * 1600**-0.5, abs=1e-6)
    for point in (twice, four):
        assert point.low < point.score < point.high
    assert (four.high - four.low) / (1 - four.score) > (twice.high - twice.low) / (1 - twice.score)


def test_intervals_cover_the_truth_of_noisy_scores():
    generator, inside = np.random.default_rng(0), 0
    for _ in range(100):
        points = []
        for count in (100, 200, 300, 400):
            score = 1 - 2 * count**-0.5 + generator.normal(0, 0.01)
            points.append(CurvePoint(count, score, score - 0.0196, score + 0.0196))
        (twice,) = extrapolate(points, (800,))
        inside += twice.low <= 1 - 2 * 800**-0.5 <= twice.high
    assert inside >= 88


@pytest.mark.parametrize("scores", [(0.8, 0.8, 0.8), (0.9, 0.8, 0.7), (0.9, 0.95, 1.0)])
def test_without_a_rise_nothing_is_extrapolated(scores: tuple[float, ...]):
    points = tuple(CurvePoint(10 * place, score, score, score) for place, score in enumerate(scores, start=1))
    assert extrapolate(points, (20,)) == ()
    expected = "is 100 %" if scores[-1] == 1 else "does not rise"
    assert expected in LearningCurve("accuracy", points, ()).sentence


def test_text_and_json_hold_all_points():
    points = tuple(power_law(count) for count in (100, 400))
    curve = LearningCurve("balanced accuracy", points, extrapolate(points, (800, 1600)))
    assert [line.split()[0] for line in curve.text.splitlines()] == ["training", "100", "400", "800", "1,600"]
    assert "balanced accuracy" in curve.text
    assert curve.sentence.startswith("With 800 training photos instead of 400, balanced accuracy would be about 92.9 %")
    assert [point["images"] for point in curve.to_dict()["points"]] == [100, 400]
    assert LearningCurve.from_dict(json.loads(json.dumps(curve.to_dict()))) == curve


def test_with_fewer_measured_than_available_images_the_present_is_estimated_too():
    points = tuple(power_law(count) for count in (100, 200, 300, 400))
    curve = LearningCurve("accuracy", points, extrapolate(points, (1000, 2000, 4000)))
    assert (curve.now.images, [point.images for point in curve.more]) == (1000, [2000, 4000])
    assert curve.sentence.startswith("With 2,000 training photos instead of 1,000")


def test_few_mistakes_do_not_give_a_certain_estimate():
    # 5, 4, 2 and 1 of 500 held-out images are wrong, in no fold more than elsewhere.
    wrong = {100: 5, 200: 4, 300: 2, 400: 1}
    points = [curve_point([count] * 5, [1 - number / 500] * 5, 0.25, 500) for count, number in wrong.items()]
    (twice,) = extrapolate(points, (800,))
    assert twice.score > 0.998
    assert 0.97 < twice.low < 0.998
    assert twice.high < 1


def test_interval_of_a_flat_curve_does_not_promise_perfection():
    scores = {100: 0.900, 200: 0.905, 300: 0.908, 400: 0.910}
    points = [CurvePoint(count, score, score - 0.05, score + 0.05) for count, score in scores.items()]
    (twice,) = extrapolate(points, (800,))
    assert twice.low < 0.9
    assert 0.93 < twice.high < 0.975
