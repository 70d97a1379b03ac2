"""Spread over runs, and figures read back from what a run left."""

import json
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import AssayError
from assay.pipeline.run_folder import Run
from assay.pipeline.run_metrics import MetricSummary, SplitMetrics, read_run_metrics

METRICS = {
    "count": 10,
    "correct": 9,
    "accuracy": 0.9,
    "log_loss": 0.3,
    "positive": "b",
    "macro": {"precision": 0.8},
    "classes": [{"name": "a", "precision": 0.7}, {"name": "b", "precision": 0.95}],
}


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_spread_is_mean_and_sample_deviation(values: list[float]):
    spread = MetricSummary.of([*values, None])
    assert spread.mean == pytest.approx(statistics.fmean(values))
    assert spread.std == pytest.approx(statistics.stdev(values))
    assert (spread.low, spread.high, spread.runs) == (min(values), max(values), len(values))


def test_one_run_has_no_spread_and_none_has_no_mean():
    assert MetricSummary.of([0.5]).std is None
    assert MetricSummary.of([None]) == MetricSummary(None, None, None, None, 0)


@pytest.mark.parametrize(("positive", "precision"), [("b", 0.95), (None, 0.8)])
def test_precision_is_that_of_the_class_looked_for_else_the_mean(positive: str | None, precision: float):
    assert SplitMetrics.of({**METRICS, "positive": positive}).precision == precision


def test_figures_are_read_back(tmp_path: Path):
    run = Run(tmp_path)
    for part in ("train", "val"):
        run.evaluation(part).mkdir(parents=True)
        (run.evaluation(part) / "metrics.json").write_text(json.dumps(METRICS), encoding="utf-8")
    assert read_run_metrics(run) == dict.fromkeys(("train", "val"), SplitMetrics(10, 0.9, 0.3, 0.95, 9))


def test_missing_and_damaged_figures_are_said(tmp_path: Path):
    run = Run(tmp_path)
    with pytest.raises(AssayError, match="has not been judged"):
        read_run_metrics(run)
    run.evaluation("train").mkdir(parents=True)
    (run.evaluation("train") / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(AssayError, match="damaged"):
        read_run_metrics(run)
