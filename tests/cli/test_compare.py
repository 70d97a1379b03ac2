"""The command `assay compare`."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from assay.evaluation import Predictions


@pytest.fixture
def results(tmp_path: Path) -> list[Path]:
    """Two evaluations of 100 photos, with 5 and with 40 mistakes."""
    files = []
    for wrong in (5, 40):
        actual = np.arange(100) % 2
        answer = np.where(np.arange(100) < wrong, 1 - actual, actual)
        ids = tuple(f"{number}.png" for number in range(100))
        made = Predictions(
            classes=("fair", "defect"),
            ids=ids,
            paths=ids,
            actual=actual,
            probabilities=np.where(np.arange(2) == answer[:, None], 0.9, 0.1),
        )
        files.append(tmp_path / str(wrong) / "predictions.npz")
        made.save(files[-1])
    return files


def test_table_names_the_best_and_significant_differences(assay, results: list[Path], tmp_path: Path):
    result = assay("compare", *results, "--csv", tmp_path / "table.csv")
    assert result.code == 0
    for values in [
        "95.0 %",
        "60.0 %",
        "best",
        "-35.0 points, p < 0.001: significant",
        "precision of defect",
    ]:
        assert values in result.out
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["accuracy"] for row in rows] == ["0.95", "0.6"]


def test_positive_class_option_and_json_output(assay, results: list[Path]):
    result = json.loads(assay("compare", *results, "--positive", "fair", "--json").out)
    assert result["best"] == str(results[0])
    assert result["compared"][0]["metrics"]["positive"] == "fair"
    assert result["compared"][1]["significant"] is True


def test_wrong_usage_exits_with_code_2(assay, results: list[Path]):
    for arguments, message in [
        ([results[0]], "two or more"),
        ([results[0], "nowhere"], "nowhere"),
        ([*results, "--positive", "cat"], "cat"),
    ]:
        result = assay("compare", *arguments)
        assert result.code == 2
        assert message in result.err
        assert result.err.count("\n") == 1
