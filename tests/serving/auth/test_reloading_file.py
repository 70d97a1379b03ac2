"""A file is reloaded after a change, checked at intervals, and its last valid content is kept when it breaks."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.core.errors import AssayError
from assay.core.files import write_text
from assay.serving.auth.keys import ReloadingFile


@pytest.fixture
def load() -> Callable[[Path], int]:
    def read(path: Path) -> int:
        text = path.read_text(encoding="utf-8")
        if not text.isdigit():
            raise AssayError(f"{path} is no number")
        return int(text)

    return read


def test_change_is_detected_within_a_second_without_extra_reads(tmp_path: Path, load: Any, clock: Any):
    path = tmp_path / "number"
    write_text(path, "1")
    looked = []

    def count(path: Path) -> int:
        looked.append(path)
        return load(path)

    watched = ReloadingFile(path, count, clock)
    write_text(path, "2")
    clock.now += 0.9
    assert watched.value() == 1
    clock.now += 0.1
    assert watched.value() == 2
    clock.now += 100
    assert watched.value() == 2
    assert len(looked) == 2


def test_replaced_file_of_same_size_and_time_is_detected_by_inode(tmp_path: Path, load: Any, clock: Any):
    path, other = tmp_path / "number", tmp_path / "other"
    write_text(path, "1")
    write_text(other, "2")
    watched = ReloadingFile(path, load, clock)
    at = path.stat().st_mtime_ns
    os.utime(other, ns=(at, at))
    other.replace(path)
    clock.now += 1
    assert watched.value() == 2


@pytest.mark.parametrize("broken", ["text", None], ids=["malformed", "gone"])
def test_broken_file_is_logged_once_and_the_last_valid_content_kept(
    tmp_path: Path, load: Any, clock: Any, caplog: pytest.LogCaptureFixture, broken: str | None
):
    path = tmp_path / "number"
    write_text(path, "1")
    watched = ReloadingFile(path, load, clock)
    if broken is None:
        path.unlink()
    else:
        write_text(path, broken)
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            clock.now += 1
            assert watched.value() == 1
    assert len(caplog.records) == 1
    assert "stays in use" in caplog.text
    write_text(path, "3")
    clock.now += 1
    assert watched.value() == 3


def test_invalid_file_raises_on_first_load(tmp_path: Path, load: Any, clock: Any):
    write_text(tmp_path / "number", "text")
    with pytest.raises(AssayError, match="is no number"):
        ReloadingFile(tmp_path / "number", load, clock)
