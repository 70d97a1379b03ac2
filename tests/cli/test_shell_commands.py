"""Printed commands name the program so that a shell in this folder finds it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from assay.cli.console import program_path, shell_command


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a program in `.venv/bin`, which was called and is not on the PATH."""
    for folder in (".venv/bin", "my tools", "other"):
        (tmp_path / folder).mkdir(parents=True)
        file = tmp_path / folder / "assay"
        file.write_text(f"#!/bin/sh\necho {folder.replace(' ', '-')} $*\n", encoding="utf-8")
        file.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sys, "argv", [".venv/bin/assay", "demo"])
    return tmp_path


def message(line: str, folder: Path) -> str:
    """Return the output of a shell for a command line."""
    return subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_program_outside_the_path_is_named_by_its_location(place: Path):
    assert program_path() == ".venv/bin/assay"
    assert message(shell_command("info", "my model.assay"), place) == ".venv/bin info my model.assay\n"


def test_program_on_the_path_is_named_alone(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", f"{place / '.venv/bin'}:/usr/bin:/bin")
    assert shell_command("train", "a b") == "assay train 'a b'"
    assert message(shell_command("x"), place) == ".venv/bin x\n"


def test_link_on_the_path_is_named_alone(place: Path, monkeypatch: pytest.MonkeyPatch):
    (place / "links").mkdir()
    (place / "links" / "assay").symlink_to(place / ".venv/bin/assay")
    monkeypatch.setenv("PATH", f"{place / 'links'}:/usr/bin:/bin")
    assert program_path() == "assay"


def test_another_program_of_the_same_name_is_not_confused(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", f"{place / 'other'}:/usr/bin:/bin")
    assert message(shell_command("x"), place) == ".venv/bin x\n"


def test_spaces_in_the_path_are_quoted(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", [str(place / "my tools" / "assay")])
    assert program_path() == "'my tools/assay'"
    assert message(shell_command("x"), place) == "my-tools x\n"


@pytest.mark.parametrize("here", [".venv/bin", "other", "my tools"])
def test_program_is_found_from_other_folders(place: Path, monkeypatch: pytest.MonkeyPatch, here: str):
    monkeypatch.setattr(sys, "argv", [str(place / ".venv/bin/assay")])
    monkeypatch.chdir(place / here)
    assert message(shell_command("x"), place / here) == ".venv/bin x\n"


def test_from_python_the_program_beside_the_interpreter_is_named(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(sys, "executable", str(place / "other" / "python"))
    assert program_path() == f"other{os.sep}assay"
    monkeypatch.setattr(sys, "executable", str(place / "python"))
    assert program_path() == "assay"
