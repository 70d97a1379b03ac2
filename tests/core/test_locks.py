"""File locks keep other holders out, and end with the file or the process that holds them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from assay.core.locks import file_lock, open_locked, try_lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing is locked on Windows")


def test_a_lock_keeps_another_holder_out_until_its_file_is_closed(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as item, (tmp_path / "lock").open("w") as two:
        assert try_lock(item)
        assert not try_lock(two)
        assert not try_lock(two, shared=True)
        item.close()
        assert try_lock(two)


def test_shared_locks_exclude_only_exclusive_ones(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open() as item, (tmp_path / "lock").open() as two:
        assert try_lock(item, shared=True)
        assert try_lock(two, shared=True)
        assert open_locked(tmp_path / "lock") is None


def test_a_folder_can_be_locked(tmp_path: Path) -> None:
    lock = open_locked(tmp_path, os.O_RDONLY)
    assert lock is not None
    assert open_locked(tmp_path, os.O_RDONLY) is None
    os.close(lock)


def test_waiting_ends_with_a_timeout(tmp_path: Path) -> None:
    with (
        file_lock(tmp_path / "deep" / "lock"),
        pytest.raises(TimeoutError, match="lock is locked"),
        file_lock(tmp_path / "deep" / "lock", timeout=0),
    ):
        pass


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from assay.core.locks import file_lock\n"
        "with file_lock(Path(sys.argv[1])):\n    print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "lock"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        assert open_locked(tmp_path / "lock") is None
        process.kill()
        process.wait()
        with file_lock(tmp_path / "lock", timeout=10):
            pass


def test_a_new_lock_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    lock = open_locked(tmp_path / "lock")
    assert lock is not None
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    os.close(lock)
