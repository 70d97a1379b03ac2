"""The command `assay crossval`."""

import json
import shutil
from pathlib import Path

import pytest

from assay.cli.main import main
from assay.data import read_manifest
from assay.recipe import Recipe, dump_recipe


@pytest.fixture(scope="module")
def crossval(colours: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typed")
    recipe = folder / "tiny.yaml"
    recipe.write_text(dump_recipe(tiny), encoding="utf-8")
    typed = [
        "crossval",
        colours,
        "-r",
        recipe,
        "--folds",
        2,
        "--set",
        "train.epochs=1",
        "--run",
        folder / "a",
    ]
    with pytest.raises(SystemExit) as caught:
        main([*map(str, typed), "--jobs", "1"])
    assert caught.value.code == 0
    return folder / "a"


def test_finished_run_prints_its_table_again(assay, crossval: Path):
    result = assay("crossval", "--resume", crossval)
    assert result.code == 0
    for values in ["80 photos: blue 40, red 40", "fold 2/2  done", "±", "2 runs", "95 % interval", "runs.csv"]:
        assert values in result.out
    assert (crossval / "results.txt").read_text(encoding="utf-8") in result.out


def test_only_json_on_standard_output(assay, crossval: Path):
    result = json.loads(assay("crossval", "--resume", crossval, "--json").out)
    assert result["folds"] == 2
    assert set(result["metrics"]) == {"train", "val", "test"}
    assert result["out_of_fold"]["count"] == 80


def test_compared_by_out_of_fold_predictions(assay, crossval: Path):
    folds = [crossval / "repeat-1" / f"fold-{number}" for number in (1, 2)]
    result = assay("compare", crossval, *folds)
    assert result.code == 0
    assert "80 out of fold" in result.out
    assert result.out.count("not comparable") == 2


def test_fold_is_a_regular_run(assay, crossval: Path, colours: Path):
    run = crossval / "repeat-1" / "fold-1"
    assert assay("predict", run / "model.assay", colours / "red" / "001.png").code == 0
    assert "classifier" in assay("train", "--resume", run).out


def test_existing_test_split_is_the_test_split_of_every_fold(assay, cifar10: Path, tmp_path: Path):
    for split, count in (("train", 4), ("test", 2)):
        for photos in sorted((cifar10 / split).iterdir()):
            folder = tmp_path / "cifar10" / split / photos.name
            folder.mkdir(parents=True)
            for photo in sorted(photos.iterdir())[:count]:
                shutil.copy(photo, folder)
    small = ["--set", "net.convnet.filters=[8]", "--set", "train.epochs=1", "--jobs", 1]
    data, run = tmp_path / "cifar10", tmp_path / "run"
    result = assay("crossval", data, "-r", "vehicle-animal", "--folds", 2, "--run", run, *small)
    assert result.code == 0, result.err
    assert "test split (20 photos) is the test split of every fold" in result.out
    assert "of 40 photos correct" in result.out
    official = {f"test/{path.parent.name}/{path.name}" for path in (data / "test").glob("*/*")}
    validated: list[str] = []
    for fold in (1, 2):
        saved = read_manifest(run / "repeat-1" / f"fold-{fold}" / "manifest.csv", ("vehicle", "animal"))
        assert {sample.id for sample in saved.part("test")} == official
        validated += [sample.id for sample in saved.part("val")]
    assert len(set(validated)) == len(validated) == 40
    values = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert values["held_out"] == "val"
    assert values["metrics"]["test"]["accuracy"]["runs"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crossval"], "give the photos"),
        (["crossval", "nowhere"], "nowhere"),
        (["crossval", ".", "-r", "botle"], "'bottle'"),
        (["crossval", ".", "--resume", "x"], "--resume takes all settings"),
        (["crossval", "--resume", "nowhere"], "crossval.json"),
        (["crossval", ".", "--repeats", "0"], "--repeats"),
    ],
)
def test_wrong_usage_exits_with_code_2(assay, arguments: list[str], message: str):
    result = assay(*arguments)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
