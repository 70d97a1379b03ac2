"""The lock of a project: one studio at a time, and the address only for the same user."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from studio_projects import paint
from studio_server import StudioServer, studio_server

from assay.studio.folder_lock import FolderLock, StudioIsOpenError

ADDRESS = "http://127.0.0.1:8321/?token=abc-DEF_123"


def refused(folder: Path) -> StudioIsOpenError:
    with pytest.raises(StudioIsOpenError) as caught:
        FolderLock(folder, "cups")
    return caught.value


def test_a_second_studio_gets_the_address_of_the_first(tmp_path: Path):
    (tmp_path / "lock").write_text("of a session that was killed")
    first = FolderLock(tmp_path, "cups")
    assert refused(tmp_path).address is None
    first.publish(ADDRESS)
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
    error = refused(tmp_path)
    assert error.address == ADDRESS
    assert "at http://127.0.0.1:8321, or stop it" in str(error)
    assert "token" not in str(error)
    first.close()
    assert (tmp_path / "lock").read_text() == ""
    FolderLock(tmp_path, "cups").close()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_or_change_is_not_trusted(tmp_path: Path, mode: int):
    first = FolderLock(tmp_path, "cups")
    first.publish(ADDRESS)
    (tmp_path / "lock").chmod(mode)
    error = refused(tmp_path)
    assert error.address is None
    assert "on the console where it was started" in str(error)
    first.close()


@pytest.mark.parametrize("content", [b"http://evil.example/?token=x", b"\xff", b"", ADDRESS.encode() + b"\nmore"])
def test_another_content_is_no_address(tmp_path: Path, content: bytes):
    first = FolderLock(tmp_path, "cups")
    (tmp_path / "lock").write_bytes(content)
    assert refused(tmp_path).address is None
    first.close()


def second_studio(folder: Path | None, running: StudioServer, state: Path) -> str:
    command = [sys.executable, "-m", "assay", "studio", "--no-browser"]
    environment = {**os.environ, "ASSAY_STATE": str(state)}
    found = subprocess.run(
        [*command, *([] if folder is None else [folder])], capture_output=True, text=True, check=False, env=environment
    )
    assert found.returncode == 2
    assert running.token not in found.stderr
    assert found.stderr.count("\n") == 1
    return found.stdout


def test_the_command_prints_the_address_of_the_studio_that_is_open(tmp_path: Path):
    paint(tmp_path / "cups" / "a.png")
    state = tmp_path / "state"
    with studio_server(None, state, tmp_path) as running:
        assert second_studio(None, running, state) == f"{running.address}\n"
        with running.client() as client:
            client.post("/api/projects/open", json={"folder": str(tmp_path / "cups")})
        assert second_studio(tmp_path / "cups", running, state) == f"{running.address}\n"
