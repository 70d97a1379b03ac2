"""Training killed or interrupted, and resumed, gives the weights of an uninterrupted run."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assay.bundle import Bundle
from assay.recipe import Recipe, dump_recipe


@pytest.fixture(scope="module")
def recipe_file(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "long.yaml"
    train = tiny.train.model_copy(update={"epochs": 6, "ema_decay": 0.9, "balance": "sampler", "workers": 1})
    path.write_text(dump_recipe(tiny.model_copy(update={"train": train})), encoding="utf-8")
    return path


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "assay", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_epochs(process: subprocess.Popen[str], run: Path, count: int) -> None:
    """Return when the run has finished `count` epochs; fail if the process ends before."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        metrics = run / "metrics.csv"
        if metrics.exists() and len(metrics.read_text(encoding="utf-8").splitlines()) > count:
            return
        if process.poll() is not None:
            pytest.fail(f"training ended too early: {process.communicate()}")
        time.sleep(0.02)
    pytest.fail("training did not get that far in two minutes")


def finish(*arguments: object) -> str:
    process = start(*arguments)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


def weights_of(run: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in Bundle.open(run / "model.assay").weights().items()}


@pytest.fixture(scope="module")
def uninterrupted_run(colours: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    finish("train", colours, "-r", recipe_file, "--run", run)
    return run


@pytest.mark.parametrize("stop", [(signal.SIGKILL, 3), pytest.param((signal.SIGINT, 1), marks=pytest.mark.slow)])
def test_resumed_run_has_the_weights_of_an_uninterrupted_one(
    stop: tuple[signal.Signals, int], colours: Path, recipe_file: Path, uninterrupted_run: Path, tmp_path: Path
):
    run, (how, epochs) = tmp_path / "run", stop
    process = start("train", colours, "-r", recipe_file, "--run", run)
    wait_for_epochs(process, run, epochs)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (run / "model.assay").exists()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert f"assay train --resume {run}" in err
        assert "Traceback" not in err
    finish("train", "--resume", run)
    assert weights_of(run) == weights_of(uninterrupted_run)
    assert (run / "metrics.csv").read_text(encoding="utf-8").count("\n") == 7
