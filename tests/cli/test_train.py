"""The commands `assay train`, `predict`, `evaluate` and `info`."""

import csv
import json
import re
from pathlib import Path

import pytest
import yaml

from assay.cli.main import main
from assay.core.event_log import EVENTS_VARIABLE, EventReader, environment_event_log
from assay.recipe import Recipe, dump_recipe


@pytest.fixture(scope="module")
def run(colours: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typed")
    recipe = folder / "tiny.yaml"
    recipe.write_text(dump_recipe(tiny), encoding="utf-8")
    main_without_exit(["train", str(colours), "-r", str(recipe), "--run", str(folder / "run")])
    return folder / "run"


def main_without_exit(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0


def test_run_folder_is_written(run: Path):
    assert (run / "model.assay").is_file()
    assert yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))["name"] == "colours"


def test_training_prints_splits_epochs_and_result(assay, colours: Path, run: Path, tmp_path: Path):
    result = assay("train", colours, "-r", run / "recipe.yaml", "--run", tmp_path / "run")
    assert result.code == 0
    for values in [
        "80 photos, 2 classes",
        "epoch 1/2",
        "epoch 2/2",
        "95 % interval",
        "model.assay",
        "broken.png",
    ]:
        assert values in result.out
    assert "warning: fewer than 100 photos of blue, red" in result.out


def test_emulated_bf16_gives_a_warning_before_training(
    assay, colours: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    settings = ["--set", "train.precision=bf16", "--set", "train.epochs=1", "--set", "train.device=cpu"]
    result = assay("train", colours, "-r", run / "recipe.yaml", *settings, "--run", tmp_path / "run")
    assert result.code == 0
    assert result.out.index("warning: train.precision is bf16") < result.out.index("epoch 1/1")


def test_only_json_on_standard_output(assay, colours: Path, run: Path, tmp_path: Path):
    result = assay("train", colours, "-r", run / "recipe.yaml", "--run", tmp_path / "run", "--json")
    values = json.loads(result.out)
    assert values["reported_split"] == "test"
    assert values["metrics"]["test"]["accuracy"] == 1.0
    assert Path(values["bundle"]).is_file()


def test_events_of_a_training(assay, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events"))
    environment_event_log.cache_clear()
    try:
        assert assay("train", "--resume", run, "--json").code == 0
        assert assay("train", tmp_path / "absent").code == 2
    finally:
        environment_event_log.cache_clear()
    events = EventReader(tmp_path / "events").read()
    kinds = [event["event"] for event in events]
    assert kinds[0] == "settings"
    assert {"data", "progress", "exit", "error"} <= set(kinds)
    assert [event["code"] for event in events if event["event"] == "exit"] == [0, 2]
    (data,) = [event for event in events if event["event"] == "data"]
    assert sum(data["splits"].values()) == 80
    assert "absent" in events[kinds.index("error")]["message"]


def test_resuming_a_finished_run_prints_the_same(assay, run: Path):
    result = assay("train", "--resume", run)
    assert result.code == 0
    assert "95 % interval" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "give the photos"),
        (["train", "nowhere"], "nowhere"),
        (["train", ".", "--set", "train.epoch=1"], "'epochs'"),
        (["train", ".", "-r", "botle"], "'bottle'"),
        (["train", ".", "--resume", "x"], "--resume takes all settings"),
    ],
)
def test_wrong_usage_exits_with_code_2(assay, arguments: list[str], message: str):
    result = assay(*arguments)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err


def test_photo_is_classified(assay, run: Path, colours: Path):
    result = assay("predict", run / "model.assay", colours / "red" / "001.png")
    assert result.code == 0
    assert "red" in result.out.split()


def test_folder_becomes_a_table_with_the_broken_photo_named(assay, run: Path, colours: Path, tmp_path: Path):
    table = tmp_path / "answers.csv"
    result = assay("predict", run / "model.assay", colours, "--out", table)
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 81
    assert all(row["label"] in row["path"] for row in rows)
    assert [row["path"] for row in rows if row["error"]] == [str(colours / "red" / "broken.png")]
    assert result.code == 1
    assert "broken.png" in result.err


def test_json_lines_have_one_object_per_photo(assay, run: Path, colours: Path):
    result = assay("predict", run / "model.assay", str(colours / "blue" / "00*.png"), "--json")
    answers = [json.loads(line) for line in result.out.splitlines()]
    assert len(answers) == 10
    assert {answer["label"] for answer in answers} == {"blue"}
    assert abs(sum(answers[0]["probabilities"].values()) - 1) < 1e-9


@pytest.mark.parametrize("wrong", ["nowhere.png", "*.nothing"])
def test_nothing_to_classify_is_reported(assay, run: Path, wrong: str):
    result = assay("predict", run / "model.assay", wrong)
    assert result.code == 2
    assert wrong in result.err


def test_empty_folder_is_reported(assay, run: Path, tmp_path: Path):
    result = assay("predict", run / "model.assay", tmp_path)
    assert result.code == 2
    assert "no photo" in result.err


def test_invalid_bundle_is_rejected(assay, colours: Path):
    result = assay("predict", colours / "red" / "001.png", colours)
    assert result.code == 1
    assert result.err.count("\n") == 1


def test_evaluate_prints_the_confusion_matrix_and_writes_figures(assay, run: Path, tmp_path: Path):
    result = assay(
        "evaluate", run / "model.assay", run / "manifest.csv", "--split", "test", "--out", tmp_path / "evaluated"
    )
    assert result.code == 0
    assert "How to read it" in result.out
    assert (tmp_path / "evaluated" / "confusion_matrix.png").is_file()


def test_info_prints_the_model_card_or_json(assay, run: Path):
    card = assay("info", run / "model.assay").out
    assert "blue" in card
    assert json.loads(assay("info", run / "model.assay", "--json").out)["classes"] == ["blue", "red"]


def test_find_lr_suggests_a_learning_rate(assay, run: Path, colours: Path, tmp_path: Path):
    result = assay("train", colours, "-r", run / "recipe.yaml", "--run", tmp_path / "x", "--find-lr")
    assert "--set train.lr=" in result.out
    assert (tmp_path / "x-lr.png").is_file()
    assert not (tmp_path / "x").exists()


def test_profile_prints_time_by_stage(assay, colours: Path, tiny: Recipe, tmp_path: Path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(dump_recipe(tiny), encoding="utf-8")
    typed = ["train", colours, "-r", recipe, "--set", "train.epochs=1", "--run", tmp_path / "a", "--profile"]
    result = assay(*typed).out
    for name in ("waiting for photos", "backward", "writing and evaluating the bundle", "report"):
        assert name in result
    assert (tmp_path / "a" / "profile.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nodes", "2"], "--nodes and --rendezvous belong together"),
        (["--rendezvous", "127.0.0.1:29500"], "--nodes and --rendezvous belong together"),
        (["--nodes", "2", "--rendezvous", "host"], r"must look like 10\.0\.0\.1:29500"),
        (["--nodes", "2", "--rendezvous", "127.0.0.1:29500"], "the strategy auto trains on one machine"),
        (["--nodes", "2", "--rendezvous", "127.0.0.1:29500", "--cluster", "ray"], "leave --nodes and --rendezvous out"),
        (
            ["--node-rank", "1", "--rendezvous", "127.0.0.1:29500"],
            "--node-rank takes everything from the first machine",
        ),
    ],
)
def test_options_for_several_machines_that_do_not_fit(
    assay, colours: Path, tmp_path: Path, options: list[str], message: str
):
    result = assay("train", colours, "--run", tmp_path / "run", *options)
    assert result.code == 2
    assert re.search(message, result.err)
    assert result.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
