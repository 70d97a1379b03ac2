"""Cross-validation and variants: folds cover every image, interruptions are resumed, a frozen backbone runs once."""

import csv
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from assay.bundle import Bundle
from assay.core.errors import AssayError, UsageError
from assay.data import read_manifest, write_manifest
from assay.data.loading import load_split_dataset
from assay.evaluation import Predictions
from assay.inference import Classifier
from assay.pipeline import (
    CrossvalResult,
    ExperimentCallbacks,
    Run,
    VariantsResult,
    compare_results,
    cross_validate,
    resume_crossval,
    resume_variants,
    train_variants,
)
from assay.recipe import Recipe, load_recipe
from assay.training import TrainingInterruptedError


class Stopped(NamedTuple):
    """A cross-validation that Ctrl-C stopped after its first fold, and what came of it."""

    message: str
    messages: list[str]
    left: list[str]
    result: CrossvalResult


@pytest.fixture(scope="module")
def stopped(colours: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("crossval") / "a"
    values: list[str] = []

    def stop(name: str, _: object) -> None:
        values.append(name)
        raise KeyboardInterrupt

    with pytest.raises(TrainingInterruptedError) as caught:
        cross_validate(colours, tiny, folder, folds=2, jobs=1, callbacks=ExperimentCallbacks(on_run=stop))
    left = sorted(path.relative_to(folder).as_posix() for path in folder.glob("repeat-*/fold-*/"))
    # A kill can leave a run without a manifest, which starts again.
    half = Run.create(folder / "repeat-1" / "fold-2", colours, load_recipe("bottle"))
    assert not half.has_splits
    epochs: list[str] = []
    callbacks = ExperimentCallbacks(
        on_epoch=lambda name, row, recipe: epochs.append(f"{name} {row.epoch}/{recipe.train.epochs}"),
        on_run=lambda name, _: values.append(name),
    )
    result = resume_crossval(folder, jobs=1, callbacks=callbacks)
    return Stopped(str(caught.value), values + epochs, left, result)


def test_ctrl_c_reports_how_to_resume(stopped: Stopped):
    assert f"assay crossval --resume {stopped.result.folder}" in stopped.message


def test_finished_folds_are_kept_and_progress_is_reported_by_fold(stopped: Stopped):
    assert stopped.left == ["repeat-1/fold-1"]
    assert stopped.messages == ["fold 1/2", "fold 1/2", "fold 2/2", "fold 2/2 1/2", "fold 2/2 2/2"]


def test_every_image_is_predicted_once_out_of_fold(stopped: Stopped):
    tested: list[str] = []
    for item in stopped.result.runs:
        dataset = read_manifest(item.run.manifest, item.run.classes)
        assert len(dataset) == 80
        tested += [sample.id for sample in dataset.part("test")]
        saved = Predictions.load(item.run.evaluation("test") / "predictions.npz")
        assert set(saved.ids) == {sample.id for sample in dataset.part("test")}
    assert sorted(tested) == [sample.id for sample in stopped.result.dataset.samples]


def test_predictions_are_those_of_the_bundles(stopped: Stopped):
    whole = Predictions.load(stopped.result.folder / "predictions.npz")
    assert list(whole.ids) == sorted(whole.ids)
    assert len(whole) == 80
    run = stopped.result.runs[1].run
    names = Predictions.load(run.evaluation("test") / "predictions.npz").ids[:8]
    rows = [whole.ids.index(name) for name in names]
    answers = Classifier.load(run.bundle).predict([Path(whole.paths[row]) for row in rows])
    given = np.array([[item.probabilities[name] for name in whole.classes] for item in answers])
    np.testing.assert_allclose(given, whole.probabilities[rows], atol=1e-5)


def test_table_has_mean_and_standard_deviation(stopped: Stopped):
    result = stopped.result
    values = [item.metrics["val"].loss for item in result.runs]
    spread = result.summaries["val", "loss"]
    assert spread.mean == pytest.approx(np.mean(values))
    assert spread.std == pytest.approx(np.std(values, ddof=1))
    assert "± is the standard deviation over 2 runs" in result.text
    assert "precision of red" in result.text
    rows = list(csv.DictReader((result.folder / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert {(row["split"], row["metric"]) for row in rows} == set(result.summaries)
    data = json.loads((result.folder / "results.json").read_text(encoding="utf-8"))
    assert data["metrics"]["val"]["loss"]["mean"] == spread.mean
    assert data["out_of_fold"]["count"] == 80


def test_every_run_is_listed_with_its_metrics(stopped: Stopped):
    text = (stopped.result.folder / "runs.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["fold"], row["split"]) for row in rows] == [
        (fold, part) for fold in "12" for part in ("train", "val", "test")
    ]
    for row in rows:
        assert Bundle.open(stopped.result.folder / row["run"] / "model.assay").info.classes == ("blue", "red")
    assert sum(int(row["photos"]) for row in rows if row["split"] == "test") == 80


def test_finished_experiment_is_not_trained_again(stopped: Stopped):
    before = (stopped.result.folder / "results.csv").read_bytes()
    progress: list[str] = []
    again = resume_crossval(
        stopped.result.folder, callbacks=ExperimentCallbacks(lambda what, *_: progress.append(what))
    )
    assert (again.folder / "results.csv").read_bytes() == before
    assert progress == []


@pytest.mark.slow
def test_frozen_backbone_processes_every_image_once(
    colours: Path, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    changes = {"strategy": "probe", "epochs": 3, "lr": 0.02}
    train = tiny.train.model_copy(update=changes)
    recipe = tiny.model_copy(update={"train": train, "augment": load_recipe("defect").augment})
    seen: list[str] = []
    callbacks = ExperimentCallbacks(lambda what, *_: seen.append(what))
    result = cross_validate(colours, recipe, tmp_path / "run", folds=2, jobs=1, callbacks=callbacks)
    # Three batches of all photos; the folds find the embeddings kept, and so does another recipe.
    assert [what for what in seen if "embeddings" in what] == ["computing embeddings"] * 5
    seen.clear()
    slower = recipe.model_copy(update={"train": train.model_copy(update={"lr": 0.01, "epochs": 1})})
    cross_validate(colours, slower, tmp_path / "slower", folds=2, jobs=1, callbacks=callbacks)
    assert not [what for what in seen if "embeddings" in what]
    network = Bundle.open(result.runs[0].run.bundle).weights()
    other = Bundle.open(result.runs[1].run.bundle).weights()
    same = {name for name in network if np.array_equal(network[name], other[name])}
    assert {name for name in network if not name.startswith("head.")} <= same
    assert not network.keys() <= same


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 1}, "2 folds"),
        ({"repeats": 0}, "--repeats"),
        ({"jobs": 0}, "--jobs"),
    ],
)
def test_invalid_numbers_are_rejected(
    colours: Path, tiny: Recipe, tmp_path: Path, arguments: dict[str, int], message: str
):
    with pytest.raises(UsageError, match=message):
        cross_validate(colours, tiny, tmp_path / "run", **arguments)


def test_too_few_images_leave_no_files(colours: Path, tiny: Recipe, tmp_path: Path):
    with pytest.raises(AssayError, match="too few"):
        cross_validate(colours, tiny, tmp_path / "run", folds=81)
    assert not (tmp_path / "run").exists()


def test_folder_in_use_is_rejected(colours: Path, tiny: Recipe, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="assay crossval --resume"):
        cross_validate(colours, tiny, tmp_path)


def test_resuming_another_folder_is_rejected(tmp_path: Path):
    with pytest.raises(UsageError, match=r"crossval\.json"):
        resume_crossval(tmp_path)


def named(recipe: Recipe, name: str, **train: object) -> Recipe:
    return recipe.model_copy(update={"name": name, "train": recipe.train.model_copy(update=train)})


def test_missing_weights_raise_at_once(colours: Path, tiny: Recipe, tmp_path: Path):
    net = tiny.net.model_copy(update={"weights": str(tmp_path / "nothing.safetensors")})
    recipes = {"good": named(tiny, "good"), "bad": tiny.model_copy(update={"net": net})}
    with pytest.raises(UsageError, match=r"^bad: weights .*nothing"):
        train_variants(colours, recipes, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_variants_with_different_images_are_rejected(colours: Path, tiny: Recipe, tmp_path: Path):
    with pytest.raises(UsageError, match="same photos"):
        train_variants(colours, {"a": tiny, "b": named(tiny, "b", seed=1)}, tmp_path / "run")
    with pytest.raises(UsageError, match="two variants"):
        train_variants(colours, {"a": tiny}, tmp_path / "run")


def test_cross_validation_cannot_be_resumed_as_variants(tmp_path: Path):
    (tmp_path / "crossval.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"variants\.json"):
        resume_variants(tmp_path)
    (tmp_path / "variants.json").write_text("{", encoding="utf-8")
    with pytest.raises(AssayError, match="damaged"):
        resume_variants(tmp_path)


@pytest.fixture(scope="module")
def few(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 16 photos of both colours."""
    folder = tmp_path_factory.mktemp("few")
    for path in sorted(colours.glob("*/0*.png")):
        if int(path.stem) < 16:
            (folder / path.parent.name).mkdir(exist_ok=True)
            shutil.copy(path, folder / path.parent.name)
    return folder


def two(tiny: Recipe) -> dict[str, Recipe]:
    result = {"description": "a tenth of the rate"}
    slow = named(tiny, "slow", epochs=1, lr=1e-4).model_copy(update=result)
    return {"quick": named(tiny, "quick", epochs=1), "slow": slow}


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def assert_tables_hold_spreads(result: VariantsResult, runs: int) -> None:
    table = {row["variant"]: row for row in rows(result.folder / "results.csv")}
    data = json.loads((result.folder / "results.json").read_text(encoding="utf-8"))
    each = rows(result.folder / "runs.csv")
    for item in data["variants"]:
        row = table[item["name"]]
        assert row["runs"] == str(runs)
        assert row["description"] == item["description"]
        for part in ("train", "val", "test"):
            for figure in ("accuracy", "loss", "precision"):
                values = [float(run[figure]) for run in each if (run["variant"], run["split"]) == (item["name"], part)]
                assert len(values) == runs
                spread = item["metrics"][part][figure]
                assert spread["mean"] == pytest.approx(np.mean(values))
                assert spread["std"] == pytest.approx(np.std(values, ddof=1))
                assert float(row[f"{part}_{figure}"]) == spread["mean"]
                assert float(row[f"{part}_{figure}_std"]) == spread["std"]
    text = (result.folder / "results.txt").read_text(encoding="utf-8")
    assert f"± is the standard deviation over {runs} runs of each variant" in text
    for words in ("training", "validation", "test", "precision of red", "a tenth of the rate"):
        assert words in text


def test_interrupted_variants_are_resumed(few: Path, tiny: Recipe, tmp_path: Path):
    folder, values = tmp_path / "run", []

    def stop(name: str, _: object) -> None:
        values.append(name)
        if len(values) == 3:
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterruptedError, match="assay variants --resume"):
        train_variants(few, two(tiny), folder, folds=2, jobs=1, callbacks=ExperimentCallbacks(on_run=stop))
    result = resume_variants(folder, jobs=1, callbacks=ExperimentCallbacks(on_run=lambda name, _: values.append(name)))
    names = ["quick fold 1/2", "quick fold 2/2", "slow fold 1/2", "slow fold 2/2"]
    assert values == [*names[:3], *names]
    assert_tables_hold_spreads(result, 2)
    # Every photo is tested once, in the same folds by both variants, and compared out of fold.
    for fold in ("repeat-1/fold-1", "repeat-1/fold-2"):
        assert Run(folder / "quick" / fold).splits() == Run(folder / "slow" / fold).splits()
    assert [item.result.split for item in result.ranking.comparisons] == ["out of fold"] * 2
    again = compare_results([folder / "quick", folder / "slow"])
    assert [item.result.metrics.count for item in again.comparisons] == [32, 32]
    assert again.comparisons[0].result.metrics.positive == "red"
    before = (folder / "results.json").read_bytes()
    resume_variants(folder)
    assert (folder / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"folds": 1}, "2 folds"), ({"folds": -2}, "folds"), ({"repeats": 0}, "--repeats")],
)
def test_invalid_numbers_of_variants_are_rejected(
    few: Path, tiny: Recipe, tmp_path: Path, arguments: dict[str, int], message: str
):
    with pytest.raises(UsageError, match=message):
        train_variants(few, two(tiny), tmp_path / "run", **arguments)


@pytest.mark.parametrize("fine_tune", [False, True])
def test_the_default_recipe_is_cross_validated(few: Path, tmp_path: Path, *, fine_tune: bool):
    settings = ["preprocess.size=32", "serve.int8=false", "train.auto.backbones=[]", "augment.train=[]"]
    epochs = ["train.epochs=1", "train.batch_size=16", f"train.auto.fine_tune={str(fine_tune).lower()}"]
    result = cross_validate(few, load_recipe("default", [*settings, *epochs]), tmp_path / "run", folds=2, jobs=1)
    with (tmp_path / "run" / "runs.csv").open(encoding="utf-8", newline="") as stream:
        counted = {row["epochs"] for row in csv.DictReader(stream)}
    assert len(result.runs) == 2
    assert counted <= ({"0", "1"} if fine_tune else {"0"})


def test_photos_with_a_test_split_are_predicted_once_by_the_default_recipe(few: Path, tmp_path: Path):
    dataset = load_split_dataset(few, load_recipe("default").data, 0)
    write_manifest(dataset, tmp_path / "photos.csv")
    settings = ["preprocess.size=32", "serve.int8=false", "train.auto.backbones=[]", "train.auto.fine_tune=false"]
    result = cross_validate(
        tmp_path / "photos.csv", load_recipe("default", settings), tmp_path / "run", folds=2, jobs=1
    )
    assert result.held_out == "val"
    # Each run has predictions of all training and validation photos; those of its fold count.
    ids = Predictions.load(tmp_path / "run" / "predictions.npz").ids
    assert list(ids) == sorted({sample.id for sample in dataset.samples if sample.split != "test"})
