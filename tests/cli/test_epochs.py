"""Printed epochs: all epochs of a network, few of a head that trains in seconds."""

from pathlib import Path

import pytest

from assay.cli.training_output import EpochPrinter
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.training import EpochMetrics, read_metrics


def rows(count: int) -> list[EpochMetrics]:
    return [EpochMetrics(number + 1, 0.5, 0.5, 0.5, 0.5, 0.1, 0.01) for number in range(count)]


@pytest.fixture
def head(tiny: Recipe) -> Recipe:
    """The colours' recipe as a probe of 30 epochs."""
    train = tiny.train.model_copy(update={"strategy": "probe", "epochs": 30, "early_stopping": None})
    augment = load_recipe("defect").augment
    return tiny.model_copy(update={"train": train, "augment": augment})


@pytest.mark.parametrize(("seconds", "printed"), [(0.05, 0), (1.0, 2), (4.0, 9), (30.0, 29)])
def test_head_prints_a_line_at_most_every_ten_seconds(
    head: Recipe, capsys: pytest.CaptureFixture[str], seconds: float, printed: int
):
    times = iter(seconds * step for step in range(1, 100))
    printer = EpochPrinter(lambda: next(times))
    for row in rows(30):
        printer("fold 1/2", row, head)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == printed
    assert all(line.startswith("fold 1/2  epoch ") for line in lines)


@pytest.mark.parametrize("strategy", ["scratch", "finetune", "staged", "probe"])
def test_network_prints_every_epoch(tiny: Recipe, capsys: pytest.CaptureFixture[str], strategy: str):
    # The probe with augmentation and no kept views forwards every photo every epoch.
    recipe = tiny.model_copy(update={"train": tiny.train.model_copy(update={"strategy": strategy})})
    printer = EpochPrinter()
    for row in rows(5):
        printer("", row, recipe)
    assert [line[:9] for line in capsys.readouterr().out.splitlines()] == [f"epoch {n}/2" for n in range(1, 6)]


def test_quick_head_prints_one_line_and_writes_all_epochs(assay, colours: Path, head: Recipe, tmp_path: Path):
    (tmp_path / "head.yaml").write_text(dump_recipe(head), encoding="utf-8")
    ended = assay("train", colours, "-r", tmp_path / "head.yaml", "--run", tmp_path / "run")
    assert ended.code == 0
    assert sum("epoch" in line for line in ended.out.splitlines()) <= 2
    assert "trained the head: 30 epochs in " in ended.out
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 30
    log = (tmp_path / "run" / "training.log").read_text(encoding="utf-8")
    assert log.count("  epoch ") == 30
