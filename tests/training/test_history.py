"""Training history, its CSV files and the log."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from assay.core.errors import AssayError
from assay.training import EpochMetrics, format_epoch, read_metrics
from assay.training.history import RunLog, write_metrics, write_step_losses

ROWS = (
    EpochMetrics(1, 0.1 + 0.2, 0.5, 1 / 3, 0.75, 1e-5, 12.25),
    EpochMetrics(2, 1e-9, 1.0, 0.25, 0.875, 1e-4, 0.5),
)


def test_metrics_survive_a_round_trip_exactly(tmp_path: Path):
    write_metrics(tmp_path / "metrics.csv", ROWS)
    assert read_metrics(tmp_path / "metrics.csv") == ROWS


def test_metrics_have_a_header_and_one_row_per_epoch(tmp_path: Path):
    write_metrics(tmp_path / "metrics.csv", ROWS)
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "epoch,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2"]


@pytest.mark.parametrize("text", ["", "epoch,loss\n1,2\n"])
def test_file_with_other_columns_raises(tmp_path: Path, text: str):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(AssayError, match=r"metrics\.csv does not hold the metrics"):
        read_metrics(tmp_path / "metrics.csv")


def test_steps_are_numbered_across_epochs(tmp_path: Path):
    write_step_losses(tmp_path / "steps.csv", [[0.5, 0.25], [0.125]])
    assert (tmp_path / "steps.csv").read_text() == "epoch,step,loss\n1,1,0.5\n1,2,0.25\n2,3,0.125\n"


def test_line_of_an_epoch_contains_its_metrics():
    assert format_epoch(ROWS[0], 9) == (
        "epoch 1/9  loss 0.3000  accuracy 0.5000  val loss 0.3333  val accuracy 0.7500  lr 1e-05  12.2 s"
    )


def test_reading_a_history_imports_neither_torch_nor_lightning():
    code = (
        "import sys; from assay.training import read_metrics;"
        "print([name for name in ('torch', 'lightning', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_unknown_names_raise_attribute_error():
    import assay.training  # noqa: PLC0415

    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        assay.training.fitt  # noqa: B018


def test_log_lines_are_appended_with_the_time(tmp_path: Path):
    RunLog(tmp_path / "run" / "training.log").write("started: α")
    RunLog(tmp_path / "run" / "training.log").write("resumed")
    lines = (tmp_path / "run" / "training.log").read_text(encoding="utf-8").splitlines()
    assert [line.split("  ")[1] for line in lines] == ["started: α", "resumed"]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  ", line) for line in lines)
