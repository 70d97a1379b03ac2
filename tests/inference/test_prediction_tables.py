"""Tables of predictions: CSV, JSON lines and Parquet."""

import csv
from pathlib import Path

import pyarrow.parquet
import pytest

from assay.core.errors import UsageError
from assay.inference import Failure, Prediction
from assay.inference.prediction_tables import (
    check_output_path,
    json_line,
    prediction_row,
    unicode_path,
    write_predictions,
)

_ANSWERS = [
    Prediction("red", 0.75, {"red": 0.75, "blue": 0.25}, "a.png", unknown=True, reason="low_confidence", novelty=0.5),
    Failure("b\udce9.png", "empty file"),
]


@pytest.mark.parametrize(
    ("path", "shown"),
    [("photos/ü.png", "photos/ü.png"), ("caf\udce9.png", "caf\\xe9.png"), ("日本.jpg", "日本.jpg")],
)
def test_arbitrary_names_can_be_written(path: str, shown: str):
    assert unicode_path(path) == shown
    json_line(prediction_row(Failure(path, "why"))).encode()


def test_csv_table(tmp_path: Path):
    write_predictions(tmp_path / "a", map(prediction_row, _ANSWERS), ["red", "blue"], suffix=".CSV")
    with (tmp_path / "a").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["path", "label", "confidence", "error", "unknown", "reason", "novelty", "p_red", "p_blue"],
        ["a.png", "red", "0.750000", "", "1", "low_confidence", "0.500000", "0.750000", "0.250000"],
        ["b\\xe9.png", "", "", "empty file", "", "", "", "", ""],
    ]


def test_parquet_has_types(tmp_path: Path):
    write_predictions(tmp_path / "a", map(prediction_row, _ANSWERS), ["red", "blue"], suffix=".parquet")
    table = pyarrow.parquet.read_table(tmp_path / "a")
    assert table.column("unknown").to_pylist() == [True, None]
    assert table.column("p_blue").to_pylist() == [0.25, None]
    assert table.column("path").to_pylist() == ["a.png", "b\\xe9.png"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_empty_table(tmp_path: Path, suffix: str):
    write_predictions(tmp_path / "a", [], ["red"], abstention=False, suffix=suffix)
    if suffix == ".parquet":
        assert pyarrow.parquet.read_table(tmp_path / "a").column_names == [
            "path", "label", "confidence", "error", "p_red"
        ]  # fmt: skip
    else:
        assert (tmp_path / "a").read_text(encoding="utf-8") in ("", "path,label,confidence,error,p_red\n")


@pytest.mark.parametrize("name", ["answers", "answers.txt", "answers.csv.gz"])
def test_unknown_suffix_raises(name: str):
    with pytest.raises(UsageError, match=r"\.csv, \.jsonl, \.parquet"):
        check_output_path(Path(name))


def test_folder_raises(tmp_path: Path):
    (tmp_path / "answers.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        check_output_path(tmp_path / "answers.csv")
