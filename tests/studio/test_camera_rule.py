"""The command of a rule on a camera, and what is read of its output."""

import json
from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.studio.camera_rule import MAX_EVENTS, CameraRule, program_of, read_rule_state


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("sign.sh", "plain.txt"):
        (folder / name).write_text("#!/bin/sh\n")
    (folder / "sign.sh").chmod(0o755)
    return folder


def test_the_command_is_that_of_a_terminal(project: Path):
    rule = CameraRule("road.mp4", "wild boar", 0.9, 1.5, "./sign.sh on")
    arguments = rule.arguments(project, "runs/run-1/model.assay")
    assert arguments[:3] == ["watch", "runs/run-1/model.assay", "road.mp4"]
    assert arguments[3:5] == ["--on", "wild boar>0.9 for 1.5s"]
    assert arguments[-2:] == ["--run", "./sign.sh on"]
    assert "--run" not in CameraRule("0", "boar", 0, 0, "").arguments(project, "m.assay")


@pytest.mark.parametrize(
    ("source", "label", "confidence", "seconds"),
    [
        ("", "boar", 0.9, 1),
        ("--json", "boar", 0.9, 1),
        ("0", "", 0.9, 1),
        ("0", "boar", 1, 1),
        ("0", "boar", float("nan"), 1),
        ("0", "boar", 0.5, -1),
    ],
)
def test_invalid_values_are_refused(project: Path, source: str, label: str, confidence: float, seconds: float):
    with pytest.raises(UsageError):
        CameraRule(source, label, confidence, seconds, "").arguments(project, "m.assay")


@pytest.mark.parametrize(
    "line", ["/bin/sh -c id", "../sign.sh", "sh", "./plain.txt", "./absent", "'", "./sign.sh\0", "."]
)
def test_only_executable_files_of_the_project_are_run(project: Path, line: str):
    with pytest.raises(UsageError):
        program_of(line, project)
    assert program_of("./sign.sh 'a b'", project) == "./sign.sh 'a b'"


def test_events_and_label_are_read_and_an_incomplete_line_is_skipped():
    lines = [json.dumps({"time": 0.1, "label": "car", "confidence": 0.8})]
    lines += [json.dumps({"event": "boar>0.9", "time": float(number), "confidence": 0.95}) for number in range(12)]
    state = read_rule_state(['{"time": 3', *lines, '{"event": "x"'])
    assert (state.label, state.count, len(state.events)) == ("car", 12, MAX_EVENTS)
    assert state.events[0] == (11.0, "boar>0.9", 0.95)
