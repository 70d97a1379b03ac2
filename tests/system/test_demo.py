"""`assay demo`: real photos, real weights, and the accuracy stated in the README."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_demo_trains_evaluates_and_predicts(tmp_path: Path):
    assay = Path(sys.executable).with_name("assay")
    ended = subprocess.run(
        [assay, "demo"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "100", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    run = tmp_path / "assay-demo" / "run-1"
    metrics = json.loads((run / "evaluation" / "test" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["count"] == 656
    assert metrics["accuracy"] > 0.83
    assert ended.stdout.count("labelled") == 5
    # Sixty epochs of a head that is fitted in seconds are one line.
    assert ended.stdout.count("epoch") <= 8
    assert "trained the head: 60 epochs in" in ended.stdout
    # The program is not on the PATH, so that printed commands must contain its path.
    commands = ended.stdout.partition("Next:\n")[2].partition("\n\n")[0].splitlines()
    use = ended.stdout.partition("use it")[2].splitlines()[0]
    assert len(commands) >= 3
    for command in [*commands, use]:
        pasted = subprocess.run(
            ["sh", "-c", command.strip()],
            cwd=tmp_path,
            env={**os.environ, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert pasted.returncode == 0, (command, pasted.stderr)
