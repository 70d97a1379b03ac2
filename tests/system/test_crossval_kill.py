"""A cross-validation killed between two folds and resumed gives the same table."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from assay.pipeline import cross_validate
from assay.recipe import Recipe, dump_recipe


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "assay", "crossval", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], *files: Path) -> None:
    """Return when all files are there; fail if the process ends before."""
    deadline = time.monotonic() + 200
    while not all(file.exists() for file in files):
        if process.poll() is not None:
            pytest.fail(f"it ended too early: {process.communicate()}")
        if time.monotonic() > deadline:
            pytest.fail("it did not get that far")
        time.sleep(0.02)


def everything(folder: Path) -> dict[str, bytes]:
    """Return the tables and the answer for every photo."""
    names = ["results.txt", "results.csv", "results.json", "runs.csv", "predictions.npz"]
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_and_resumed_cross_validation_gives_the_same_table(colours: Path, tiny: Recipe, tmp_path: Path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(dump_recipe(tiny), encoding="utf-8")
    killed, first = tmp_path / "killed", tmp_path / "killed" / "repeat-1" / "fold-1"
    process = start(colours, "-r", recipe, "--folds", 2, "--run", killed, "--jobs", 1)
    wait_for(
        process,
        first / "evaluation" / "train" / "metrics.json",
        killed / "repeat-1" / "fold-2" / "metrics.csv",
    )
    process.kill()
    process.communicate()
    assert not (killed / "results.csv").exists()
    kept = (first / "model.assay").stat().st_mtime_ns

    # How many runs go on side by side must not matter either.
    process = start("--resume", killed, "--jobs", 2)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert (first / "model.assay").stat().st_mtime_ns == kept

    straight = cross_validate(colours, tiny, tmp_path / "straight", folds=2, jobs=1)
    assert everything(killed) == everything(straight.folder)
    assert straight.text in out
