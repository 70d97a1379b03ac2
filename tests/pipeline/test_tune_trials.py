"""Search of whole recipes: trials end early, are the same training as `assay train`, and continue after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assay.core.errors import AssayError, UsageError
from assay.data import Sample
from assay.pipeline import train_classifier
from assay.pipeline.tune import resume_tune, tune_recipe
from assay.pipeline.tune_result import TuneResult
from assay.pipeline.tune_trials import LocalTrials, TrialProgress, TrialTask
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.training import TrainingInterruptedError, read_metrics

TRAIN = ["train.epochs=4", "train.early_stopping=null", "augment.train=[]"]
SPACE = "tune={space: {train.lr: [1.0e-30, 0.1, 1.0e-29, 1.0e-28]}, halving: {first_epochs: 1, factor: 2}}"


@pytest.fixture(scope="module")
def recipe_file(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "base.yaml").write_text(dump_recipe(tiny), encoding="utf-8")
    path = folder / "whole.yaml"
    path.write_text(dump_recipe(load_recipe(folder / "base.yaml", [*TRAIN, SPACE])), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def result(colours: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    return tune_recipe(colours, recipe_file, (), tmp_path_factory.mktemp("tuned") / "a", by="loss")


def _table(found: TuneResult) -> list[tuple[object, ...]]:
    return [(trial.settings, trial.state, trial.loss, len(trial.epochs)) for trial in found.trials]


def test_trials_that_are_not_among_the_best_end_early(result: TuneResult):
    assert result.best.recipe.train.lr == 0.1
    assert result.best.state == "complete"
    assert {trial.state for trial in result.trials} == {"complete", "pruned"}
    assert all(len(trial.epochs) in {1, 2} for trial in result.trials if trial.state == "pruned")
    assert "pruned" in result.text
    written = json.loads((result.folder / "tune.json").read_text(encoding="utf-8"))
    assert [trial["state"] for trial in written["trials"]] == [trial.state for trial in result.trials]
    page = (result.folder / "tune.html").read_text(encoding="utf-8")
    assert page.count("<tr class=") == 4
    assert "<svg" not in page
    assert "data:image/svg+xml" in page
    assert not list(result.folder.rglob("*.ckpt"))


def test_a_trial_equals_a_training_run(result: TuneResult, colours: Path, tmp_path: Path):
    assert load_recipe(result.folder / "best.yaml") == result.best.recipe
    trained = train_classifier(colours, result.best.recipe, tmp_path / "run")
    rows = read_metrics(trained.run.folder / "metrics.csv")
    assert [row.val_loss for row in rows] == [row.val_loss for row in result.best.epochs]


def test_a_finished_search_is_only_read(result: TuneResult):
    assert _table(resume_tune(result.folder)) == _table(result)


def test_an_interrupted_search_continues_where_it_was(
    result: TuneResult, colours: Path, recipe_file: Path, tmp_path: Path
):
    class Interrupted(LocalTrials):
        def __init__(self, after: int) -> None:
            super().__init__()
            self._left = after

        def wait(self) -> TrialProgress:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
            return super().wait()

    with pytest.raises(TrainingInterruptedError, match=r"assay tune --resume .*/a$"):
        tune_recipe(colours, recipe_file, (), tmp_path / "a", by="loss", runner=Interrupted(2))
    with pytest.raises(TrainingInterruptedError):
        resume_tune(tmp_path / "a", runner=Interrupted(1))
    assert _table(resume_tune(tmp_path / "a")) == _table(result)


def test_no_test_image_is_opened(colours: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    opened: set[str] = set()
    read = Sample.read

    def noting(sample: Sample) -> bytes:
        opened.add(str(sample.split))
        return read(sample)

    monkeypatch.setattr(Sample, "read", noting)
    tune_recipe(colours, recipe_file, ["train.epochs=1"], tmp_path / "a", trials=1)
    assert opened - {"None"} == {"train", "val"}


def test_a_trial_that_fails_is_the_last_of_the_table(colours: Path, recipe_file: Path, tmp_path: Path):
    settings = ["train.optimizer=sgd", "train.lr=1e30,0.01", "train.epochs=1"]
    found = tune_recipe(colours, recipe_file, settings, tmp_path / "a")
    assert [trial.state for trial in found.trials] == ["complete", "failed"]
    assert "no longer a finite number" in found.trials[1].reason
    with pytest.raises(AssayError, match="no trial could be trained"):
        tune_recipe(colours, recipe_file, [*settings[:1], "train.lr=1e30", settings[2]], tmp_path / "b")


def test_folds_are_for_heads(colours: Path, recipe_file: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="--folds is for heads on a frozen backbone"):
        tune_recipe(colours, recipe_file, [], tmp_path / "a", folds=3)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.seed=1,2"], r"train\.seed"),
        (["train.strategy=auto", "net.name=resnet18", "net.weights=imagenet"], "strategy auto, which searches by"),
    ],
    ids=["seed", "auto"],
)
def test_what_cannot_be_searched_is_refused(
    colours: Path, recipe_file: Path, tmp_path: Path, settings: list[str], message: str
):
    with pytest.raises(UsageError, match=message):
        tune_recipe(colours, recipe_file, settings, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_folder_without_a_search_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="holds no search"):
        resume_tune(tmp_path)


def test_training_pauses_at_every_comparison(colours: Path, recipe_file: Path, tmp_path: Path):
    pauses: list[tuple[int, int]] = []

    class Recorded(LocalTrials):
        def submit(self, task: TrialTask) -> None:
            pauses.append((task.number, task.until))
            super().submit(task)

    settings = ["train.lr=0.1", "train.epochs=5"]
    alone = tune_recipe(colours, recipe_file, settings, tmp_path / "a", by="loss", runner=Recorded())
    assert pauses == [(0, 1), (0, 2), (0, 4), (0, 5)]
    assert len(alone.best.epochs) == 5


@pytest.mark.slow
def test_a_killed_search_has_the_same_result(result: TuneResult, colours: Path, recipe_file: Path, tmp_path: Path):
    command = [
        str(Path(sys.executable).with_name("assay")),
        "tune",
        str(colours),
        "-r",
        str(recipe_file),
        "--by",
        "loss",
    ]
    for number in range(6):
        arguments = [*command, "--run", str(tmp_path / "a")]
        if (tmp_path / "a" / "search.json").exists():
            arguments = [*command[:2], "--resume", str(tmp_path / "a")]
        process = subprocess.Popen(arguments, start_new_session=True, stdout=subprocess.DEVNULL)
        epochs = tmp_path / "a" / "trials" / f"{min(number, 3):04}" / "metrics.csv"
        deadline = time.monotonic() + 60
        while process.poll() is None and not epochs.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert _table(resume_tune(tmp_path / "a")) == _table(result)
