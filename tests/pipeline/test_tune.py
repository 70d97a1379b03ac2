"""Tuning: trials equal full training runs and never use test images."""

import csv
from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.data import Sample
from assay.pipeline import train_classifier
from assay.pipeline.search_space import SearchSpace
from assay.pipeline.tune import resume_tune, tune_recipe
from assay.pipeline.tune_result import TuneResult
from assay.recipe import Recipe, TuneSpec, dump_recipe, load_recipe
from assay.training import read_metrics

PROBE = ["train.strategy=probe", "augment.train=[]", "train.early_stopping=null", "train.epochs=3"]


@pytest.fixture(scope="module")
def recipe_file(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "probe.yaml"
    path.write_text(dump_recipe(tiny), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def result(colours: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    folder = tmp_path_factory.mktemp("tuned") / "a"
    settings = [*PROBE, "train.lr=0.02,0.5", "net.head.hidden=[],[4]"]
    return tune_recipe(colours, recipe_file, settings, folder, by="loss")


def test_all_combinations_are_ranked(result: TuneResult):
    assert len(result.trials) == 4
    losses = [item.loss for item in result.trials if item.loss is not None]
    assert losses == sorted(losses)
    assert len(losses) == 4
    assert len({item.settings for item in result.trials}) == 4
    rows = list(csv.DictReader((result.folder / "tune.csv").read_text(encoding="utf-8").splitlines()))
    assert [float(row["val_loss"]) for row in rows] == pytest.approx(losses)
    assert {row["net.head.hidden"] for row in rows} == {"[]", "[4]"}


@pytest.mark.parametrize("place", [0, 3])
def test_trial_equals_a_training_run(result: TuneResult, colours: Path, tmp_path: Path, place: int):
    trial = result.trials[place]
    trained = train_classifier(colours, trial.recipe, tmp_path / "run")
    rows = read_metrics(trained.run.folder / "metrics.csv")
    (best,) = trial.bests
    assert trained.history.best_epoch == best.epoch
    assert rows[best.epoch - 1].val_loss == pytest.approx(best.val_loss, rel=1e-5)
    assert rows[best.epoch - 1].train_loss == pytest.approx(best.train_loss, rel=1e-5)


def test_best_recipe_can_be_trained(result: TuneResult):
    assert load_recipe(result.folder / "best.yaml") == result.best.recipe


def test_tuning_opens_no_test_image(recipe_file: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    read = Sample.read
    opened: set[str] = set()

    def noting(sample: Sample) -> bytes:
        if sample.split is not None:
            opened.add(sample.split)
        return read(sample)

    monkeypatch.setattr(Sample, "read", noting)
    tune_recipe(colours, recipe_file, [*PROBE, "train.lr=0.02,0.5"], tmp_path / "a", folds=3)
    assert opened == {"train", "val"}


def test_folds_cover_every_image_once_with_a_standard_deviation(recipe_file: Path, colours: Path, tmp_path: Path):
    found = tune_recipe(colours, recipe_file, [*PROBE, "train.lr=0.02,0.1"], tmp_path / "a", folds=3)
    assert [len(item.bests) for item in found.trials] == [3, 3]
    assert found.best.accuracy_std is not None
    assert "±" in found.text
    assert found.to_dict()["folds"] == 3


def test_diverging_settings_come_last(recipe_file: Path, colours: Path, tmp_path: Path):
    settings = [*PROBE, "train.optimizer=sgd", "net.head.l2=1", "train.lr=1e30,0.01"]
    found = tune_recipe(colours, recipe_file, settings, tmp_path / "a")
    assert found.trials[1].accuracy is None
    assert found.best.accuracy is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([*PROBE, "train.seed=0,1"], r"train\.seed"),
        ([*PROBE, "data.layout=auto,classes"], "data"),
    ],
    ids=["seed", "data"],
)
def test_recipes_that_cannot_be_tuned_together_are_rejected(
    recipe_file: Path, colours: Path, tmp_path: Path, settings: list[str], message: str
):
    with pytest.raises(UsageError, match=message):
        tune_recipe(colours, recipe_file, settings, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_trials_drawn_from_a_range_are_heads_on_the_same_embeddings(colours: Path, recipe_file: Path, tmp_path: Path):
    space = "tune.space={train.lr: {low: 0.01, high: 1, log: true}, net.head.hidden: [[], [4]]}"
    source = tmp_path / "ranges.yaml"
    source.write_text(dump_recipe(load_recipe(recipe_file, [space])), encoding="utf-8")
    found = tune_recipe(colours, source, PROBE, tmp_path / "a", trials=8)
    assert len({trial.settings for trial in found.trials}) == 8
    rates = [trial.recipe.train.lr for trial in found.trials]
    assert min(rates) >= 0.01
    assert max(rates) <= 1
    assert {trial.recipe.net.head.hidden for trial in found.trials} == {(), (4,)}
    assert not (found.folder / "trials").exists()
    assert resume_tune(found.folder).to_dict() == found.to_dict()
    again = tune_recipe(colours, source, PROBE, tmp_path / "b", trials=8)
    assert [trial.settings for trial in again.trials] == [trial.settings for trial in found.trials]


def test_all_heads_are_trained_again_by_resuming(result: TuneResult):
    again = resume_tune(result.folder)
    assert [(trial.settings, trial.bests[0].val_loss) for trial in again.trials] == [
        (trial.settings, trial.bests[0].val_loss) for trial in result.trials
    ]


def test_more_trials_than_one_stack_are_all_reported(
    colours: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("assay.training.head_sweep._MAX_HEADS", 2)
    result: list[tuple[int, int]] = []

    def progress(what: str, done: int, total: int) -> None:
        if what == "trying settings":
            result.append((done, total))

    settings = [*PROBE, "train.lr=0.01,0.02,0.03,0.04,0.05"]
    found = tune_recipe(colours, recipe_file, settings, tmp_path / "a", folds=2, progress=progress)
    assert len({item.settings for item in found.trials}) == 5
    assert result == sorted(result)
    assert result[-1] == (5, 5)
    assert len(set(result)) > 3


def test_ties_keep_the_given_order(colours: Path, recipe_file: Path, tmp_path: Path):
    # Rates do not matter where nothing is learnt; dropout parts what learns at once.
    settings = [*PROBE, "net.head.dropout=0,0.5", "train.lr=1e-30,2e-30,3e-30"]
    found = tune_recipe(colours, recipe_file, settings, tmp_path / "a")
    order = [item.settings for item in found.trials]
    assert order == list(SearchSpace.of(TuneSpec(), settings).combinations())


def test_batch_norm_with_batches_of_one_is_rejected_at_once(colours: Path, recipe_file: Path, tmp_path: Path):
    settings = [*PROBE, "net.head.hidden=[4]", "net.head.batch_norm=true", "train.batch_size=16,1"]
    with pytest.raises(UsageError, match="two photos per batch"):
        tune_recipe(colours, recipe_file, settings, tmp_path / "a")
    assert not (tmp_path / "a").exists()
