"""The command `assay tune`."""

import json
from pathlib import Path

import pytest

from assay.recipe import Recipe, dump_recipe


@pytest.fixture(scope="module")
def recipe_file(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    train = tiny.train.model_copy(update={"strategy": "probe", "augmentation_views": 2})
    path = tmp_path_factory.mktemp("recipe") / "probe.yaml"
    path.write_text(dump_recipe(tiny.model_copy(update={"train": train})), encoding="utf-8")
    return path


def test_prints_a_ranking_and_the_next_command(assay, colours: Path, recipe_file: Path, tmp_path: Path):
    result = assay("tune", colours, "-r", recipe_file, "--set", "train.lr=0.02,0.1", "--run", tmp_path / "a")
    assert result.code == 0
    assert "train.lr=0.1" in result.out
    assert f"assay train {colours} -r {tmp_path / 'a' / 'best.yaml'}" in result.out
    again = assay("tune", colours, "-r", recipe_file, "--run", tmp_path / "a")
    assert again.code == 2
    assert "is not empty" in again.err


def test_only_json_on_standard_output(assay, colours: Path, recipe_file: Path, tmp_path: Path):
    result = assay("tune", colours, "-r", recipe_file, "--folds", 2, "--run", tmp_path / "a", "--json").out
    assert len(json.loads(result)["trials"]) == 1


@pytest.mark.parametrize("arguments", [["--folds", "1"], ["--set", "train.lr"], ["--set", "train.rate=1"]])
def test_wrong_usage_exits_with_code_2(assay, colours: Path, recipe_file: Path, tmp_path: Path, arguments: list[str]):
    result = assay("tune", colours, "-r", recipe_file, "--run", tmp_path / "a", *arguments)
    assert result.code == 2
    assert result.err.count("\n") == 1


def test_a_search_resumes_from_its_folder(assay, colours: Path, recipe_file: Path, tmp_path: Path):
    first = assay("tune", colours, "-r", recipe_file, "--set", "train.lr=0.02,0.1", "--run", tmp_path / "a", "--json")
    again = assay("tune", "--resume", tmp_path / "a", "--json")
    settings = [[trial["settings"] for trial in json.loads(result.out)["trials"]] for result in (first, again)]
    assert settings[0] == settings[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the photos to train on and a recipe"),
        (["--resume", "a", "--trials", "3"], "--resume takes all settings from the folder"),
        (["--resume", "a"], "holds no search"),
    ],
)
def test_what_cannot_be_resumed(assay, tmp_path: Path, arguments: list[str], message: str, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = assay("tune", *arguments)
    assert result.code == 2
    assert message in result.err
