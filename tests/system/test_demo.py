"""`assay demo` as a new user runs it: real photos, real weights, and the accuracy that the README states."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_trains_judges_and_uses_a_classifier(tmp_path: Path):
    assay = Path(sys.executable).with_name("assay")
    ended = subprocess.run(
        [assay, "demo"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "100"},
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
    for command in ("assay info", "assay predict", "assay evaluate", "assay train"):
        assert command in ended.stdout
