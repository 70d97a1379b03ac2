"""Temporary files of killed processes are removed by the next process, and nothing else is."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from assay.core import files
from assay.core.files import atomic_write, remove_stale, temporary_file, temporary_folder

_HOLD = """
import sys, time
from pathlib import Path
from assay.core.files import atomic_write
from assay.core.files import temporary_folder
from assay.data.fetch.archive import atomic_folder
from assay.serving.telemetry.metrics import multiprocess_metrics
where = Path(sys.argv[1])
with temporary_folder("assay-test") as one, atomic_folder(where / "fetched") as two, multiprocess_metrics() as three:
    (one / "deep").mkdir()
    (one / "deep" / "file").write_text("x")
    (two / "photo.jpg").write_text("x")
    (three / "counter_1.db").write_text("x")
    with atomic_write(where / "model.assay") as half, atomic_write(where / "no suffix") as other:
        half.write_text("half")
        print("ready", flush=True)
        time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(files, "_cleaned_folders", set())


@contextmanager
def holding(where: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun files and folders."""
    command = [sys.executable, "-c", _HOLD, str(where)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "tmp")


def test_files_of_a_killed_process_are_removed_at_the_next_start(tmp_path: Path) -> None:
    with holding(tmp_path) as process:
        assert len(names(tmp_path)) == 3
        assert len(names(tmp_path / "tmp")) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
    with temporary_folder("assay-other") as folder:
        assert names(tmp_path / "tmp") == [folder.name]
    with atomic_write(tmp_path / "notes.txt") as new:
        new.write_text("x", encoding="utf-8")
        assert names(tmp_path) == [new.name]
    assert names(tmp_path) == ["notes.txt"]


def test_files_of_running_processes_are_kept(tmp_path: Path) -> None:
    with holding(tmp_path):
        before = names(tmp_path), names(tmp_path / "tmp")
        remove_stale(tmp_path)
        remove_stale(tmp_path / "tmp")
        assert (names(tmp_path), names(tmp_path / "tmp")) == before


def test_files_of_this_process_are_kept(tmp_path: Path) -> None:
    with temporary_folder("one") as item, temporary_file(tmp_path / "a.txt") as two:
        remove_stale(item.parent)
        remove_stale(tmp_path)
        assert item.is_dir()
        assert two.is_file()


@pytest.mark.parametrize(
    "name",
    [
        ".model-abcdefgh.assay",
        "assay-metrics-abcdefgh",
        ".assay-tmp-short.txt",
        "x.assay-tmp-UPPER123.txt",
        "x.assay-tmp-toolong12345",
        ".hidden",
        "photo.jpg",
    ],
)
def test_other_files_are_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).mkdir()
    for folder in (tmp_path, tmp_path / "folder"):
        remove_stale(folder)
        assert (folder / name).exists()


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine", encoding="utf-8")
    (tmp_path / ".x.assay-tmp-abcd1234").symlink_to(kept)
    os.mkfifo(tmp_path / ".y.assay-tmp-abcd1234")
    remove_stale(tmp_path)
    assert (kept / "file").exists()
    assert len(names(tmp_path)) == 3


def test_long_names_have_temporary_names(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 250 + ".txt")
    with atomic_write(target) as new:
        new.write_text("x", encoding="utf-8")
    assert names(tmp_path) == [target.name]


def test_unreadable_folder_is_skipped(tmp_path: Path) -> None:
    remove_stale(tmp_path / "missing")
