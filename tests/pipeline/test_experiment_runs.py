"""Plans of seeds and folds: their runs, images and folders."""

import json
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import AssayError, UsageError
from assay.core.progress import no_progress
from assay.data import Dataset, Sample, Split
from assay.pipeline.experiment_runs import MetricSummary, Resampling, RunTask, SplitMetrics, read_run_metrics
from assay.pipeline.run_folder import Run
from assay.recipe import Recipe


def dataset(*parts: Split | None) -> Dataset:
    samples = [
        Sample(f"{part}/{label}{number:02}.png", Path(), label, part)
        for part in parts
        for label in "ab"
        for number in range(20)
    ]
    return Dataset(Path(), ("a", "b"), ()).with_samples(samples)


def tasks(plan: Resampling, data: Dataset, recipe: Recipe, folder: Path) -> list[RunTask]:
    return list(plan.tasks(folder, "wide", data, recipe, threads=1, progress=no_progress))


@pytest.mark.parametrize(
    ("plan", "folders", "names"),
    [
        (Resampling(0, 1), ["."], ["wide"]),
        (Resampling(0, 2), ["repeat-1", "repeat-2"], ["wide repeat 1/2", "wide repeat 2/2"]),
        (Resampling(2, 1), ["repeat-1/fold-1", "repeat-1/fold-2"], ["wide fold 1/2", "wide fold 2/2"]),
        (
            Resampling(2, 2),
            [f"repeat-{repeat}/fold-{fold}" for repeat in (1, 2) for fold in (1, 2)],
            [f"wide repeat {repeat}/2 fold {fold}/2" for repeat in (1, 2) for fold in (1, 2)],
        ),
    ],
)
def test_every_run_has_a_folder_and_a_name(
    plan: Resampling, folders: list[str], names: list[str], tiny: Recipe, tmp_path: Path
):
    found = tasks(plan, dataset(None), tiny, tmp_path)
    assert [item.folder.relative_to(tmp_path).as_posix() for item in found] == folders
    assert [item.name for item in found] == names
    assert plan.runs == len(found)
    assert Resampling.of(plan.to_dict()) == plan


@pytest.mark.parametrize("parts", [(None,), ("train",), ("train", "test"), ("train", "val"), ("test", None)])
@pytest.mark.parametrize("folds", [0, 2])
def test_every_run_trains_validates_and_tests(
    folds: int, parts: tuple[Split | None, ...], tiny: Recipe, tmp_path: Path
):
    data = dataset(*parts)
    for item in tasks(Resampling(folds, 2), data, tiny, tmp_path):
        assert item.dataset.part("train")
        assert item.dataset.part("val")
        # Ready-made training and validation photos alone have no test, unless folds make one.
        assert bool(item.dataset.part("test")) == (bool(folds) or parts != ("train", "val"))
        if "test" in parts:
            kept = {sample.id for sample in data.part("test")}
            assert {sample.id for sample in item.dataset.part("test")} == kept


def test_every_repeat_has_another_seed_and_other_splits(tiny: Recipe, tmp_path: Path):
    first, second = tasks(Resampling(0, 2), dataset(None), tiny, tmp_path)
    assert [item.recipe.train.seed for item in (first, second)] == [0, 1]
    assert first.dataset.part("test") != second.dataset.part("test")
    assert len(first.dataset) == len(second.dataset) == 40


def test_unsplittable_data_raises_before_the_first_run(tiny: Recipe):
    with pytest.raises(AssayError, match="40 photos are too few for 41 folds"):
        Resampling(41, 3).first_split(dataset(None), tiny)
    with pytest.raises(UsageError, match="--repeats is 0"):
        Resampling(2, 0)


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
def test_summary_has_mean_and_sample_standard_deviation(values: list[float]):
    spread = MetricSummary.of([*values, None])
    assert spread.mean == pytest.approx(statistics.fmean(values))
    assert spread.std == pytest.approx(statistics.stdev(values))
    assert (spread.low, spread.high, spread.runs) == (min(values), max(values), len(values))


def test_summaries_of_one_run_and_of_none():
    assert MetricSummary.of([0.5]).std is None
    assert MetricSummary.of([None]) == MetricSummary(None, None, None, None, 0)


@pytest.mark.parametrize(("positive", "precision"), [("b", 0.95), (None, 0.8)])
def test_precision_of_the_positive_class_or_else_the_mean(positive: str | None, precision: float):
    assert SplitMetrics.of({**METRICS, "positive": positive}).precision == precision


def test_metrics_survive_a_round_trip(tmp_path: Path):
    run = Run(tmp_path)
    for part in ("train", "val"):
        run.evaluation(part).mkdir(parents=True)
        (run.evaluation(part) / "metrics.json").write_text(json.dumps(METRICS), encoding="utf-8")
    assert read_run_metrics(run) == dict.fromkeys(("train", "val"), SplitMetrics(10, 0.9, 0.3, 0.95, 9))


def test_missing_and_damaged_metrics_raise(tmp_path: Path):
    run = Run(tmp_path)
    with pytest.raises(AssayError, match="has not been evaluated"):
        read_run_metrics(run)
    run.evaluation("train").mkdir(parents=True)
    (run.evaluation("train") / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(AssayError, match="damaged"):
        read_run_metrics(run)
