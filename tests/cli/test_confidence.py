"""Abstention on the command line: thresholds, `unknown` and calibration texts."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from assay.cli.main import main
from assay.cli.training_output import describe_confidence
from assay.recipe import Recipe, dump_recipe

FIGURES = {"ece": 0.1, "brier": 0.2, "nll": 0.3}
TOLD = {
    "calibration": {"temperature": 1.5, "before": FIGURES, "after": {**FIGURES, "ece": 0.05}},
    "abstaining": {
        "target": 0.99,
        "reached": False,
        "threshold": 0.93,
        "count": 200,
        "bound": 0.95,
        "coverage": 0.4,
        "answered": 80,
        "correct": 79,
    },
    "test": {"answered": {"count": 50, "answered": 20, "coverage": 0.4, "precision": 0.95, "out_of_distribution": 2}},
}


@pytest.fixture(scope="module")
def run(colours: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typed")
    recipe = folder / "tiny.yaml"
    recipe.write_text(dump_recipe(tiny), encoding="utf-8")
    typed = ["train", colours, "-r", recipe, "--run", folder / "run", "--target-precision", "0.85"]
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in typed])
    assert caught.value.code == 0
    return folder / "run"


@pytest.fixture(scope="module")
def unusual_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("strange") / "black.png"
    Image.new("RGB", (32, 32)).save(path)
    return path


def test_target_precision_option_sets_the_recipe(run: Path):
    assert "target_precision: 0.85" in (run / "recipe.yaml").read_text(encoding="utf-8")


def test_unusual_photo_is_unknown_and_keeps_its_label(assay, run: Path, unusual_photo: Path):
    shown = assay("predict", run / "model.assay", unusual_photo).out
    assert "unknown: out of distribution" in shown
    hidden = assay("predict", run / "model.assay", unusual_photo, "--no-abstain").out
    assert shown.startswith(hidden.rstrip())
    assert "unknown" not in hidden


def test_table_has_abstention_columns(assay, run: Path, unusual_photo: Path, tmp_path: Path):
    assay("predict", run / "model.assay", unusual_photo, "--out", tmp_path / "a.csv")
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines())
    assert (row["unknown"], row["reason"]) == ("1", "out_of_distribution")
    assert float(row["novelty"]) > 1
    assay("predict", run / "model.assay", unusual_photo, "--out", tmp_path / "b.csv", "--no-abstain")
    (row,) = csv.DictReader((tmp_path / "b.csv").read_text(encoding="utf-8").splitlines())
    assert list(row) == ["path", "label", "confidence", "error", "p_blue", "p_red"]


def test_evaluate_prints_coverage_and_accepts_another_target(assay, run: Path, tmp_path: Path):
    typed = ["evaluate", run / "model.assay", run / "manifest.csv", "--split", "test", "--out"]
    own = assay(*typed, tmp_path / "own")
    assert "unknown     coverage" in own.out
    other = assay(*typed, tmp_path / "other", "--target-precision", "0.999")
    assert "99.9 % precision cannot be guaranteed" in other.out
    result = json.loads(assay(*typed, tmp_path / "json", "--target-precision", "0.9", "--json").out)
    assert result["selection"]["target"] == 0.9
    assert result["confidence"]["threshold"] == result["selection"]["threshold"]


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_invalid_target_precision_is_wrong_usage(assay, run: Path, colours: Path, command: str):
    words = [colours] if command == "train" else [run / "model.assay", colours]
    result = assay(command, *words, "--target-precision", "1.5")
    assert result.code == 2
    assert result.err.count("\n") == 1


def test_summary_of_a_finished_run():
    text = describe_confidence(TOLD, "test")
    assert "temperature 1.5: ECE 0.100 → 0.050" in text
    assert "coverage 40.0 % of 50 photos at confidence ≥ 0.930, precision 95.0 %" in text
    assert "99.0 % precision cannot be guaranteed from 200 held-out photos" in text
    assert "at 40.0 % coverage 79 of 80 are correct, the guarantee is 95.0 %" in text
    # 40 % are few answers: what gives more of them is named.
    assert "lower --target-precision, or predict --no-abstain" in text
    most = {**TOLD["test"]["answered"], "answered": 26}
    assert "--no-abstain" not in describe_confidence({**TOLD, "test": {"answered": most}}, "test")
    kept = describe_confidence({**TOLD, "calibration": {**TOLD["calibration"], "temperature": 1.0}}, "test")
    assert "not recalibrated" in kept
    reached = describe_confidence({**TOLD, "abstaining": {**TOLD["abstaining"], "reached": True}}, "test")
    assert "cannot be guaranteed" not in reached
    nothing = {"count": 3, "answered": 0, "coverage": 0.0, "precision": None, "out_of_distribution": 3}
    assert "3 photos, all of them unknown" in describe_confidence({**TOLD, "test": {"answered": nothing}}, "test")


def test_without_abstention_only_the_calibration_is_printed():
    text = describe_confidence({"calibration": TOLD["calibration"], "test": {"answered": None}}, "test")
    assert "unknown" not in text
