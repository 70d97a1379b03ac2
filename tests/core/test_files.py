"""Atomic writes, digests and permissions of files."""

import hashlib
import os
import re
from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.core.files import (
    NotAFileError,
    atomic_write,
    cache_folder,
    file_sha256,
    read_json_state,
    write_error_reason,
    write_text,
)


def test_file_appears_only_when_complete(tmp_path: Path):
    target = tmp_path / "deep" / "notes.txt"
    with atomic_write(target) as temporary:
        temporary.write_text("half", encoding="utf-8")
        assert not target.exists()
    assert target.read_text(encoding="utf-8") == "half"


def fail_while_writing(target: Path) -> None:
    with atomic_write(target) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError("power cut")


def test_failed_write_leaves_the_old_file_only(tmp_path: Path):
    target = tmp_path / "notes.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError, match="power cut"):
        fail_while_writing(target)
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_error_names_the_file(tmp_path: Path):
    with pytest.raises(OSError, match="No space") as caught, atomic_write(tmp_path / "notes.txt"):
        Path("/dev/full").write_bytes(b"more")
    assert caught.value.filename == str(tmp_path / "notes.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("linked", [True, False])
def test_pipes_and_devices_are_not_replaced(tmp_path: Path, *, linked: bool):
    target = tmp_path / "notes.txt"
    if linked:
        target.symlink_to(os.devnull)
    else:
        os.mkfifo(target)
    with pytest.raises(NotAFileError, match=r"notes\.txt is a pipe, a socket or a device"):
        write_text(target, "gone")
    assert target.is_fifo() or target.is_char_device()
    assert list(tmp_path.iterdir()) == [target]


def test_line_endings_are_written_unchanged(tmp_path: Path):
    write_text(tmp_path / "a.csv", "a\r\nb\n")
    assert (tmp_path / "a.csv").read_bytes() == b"a\r\nb\n"


def test_digest_is_sha256(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"assay")
    assert file_sha256(tmp_path / "a") == hashlib.sha256(b"assay").hexdigest()


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"ASSAY_CACHE": "/a"}, "/a"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/assay"),
    ],
)
def test_cache_folder_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name in ("ASSAY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder().is_relative_to(Path.home())
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)


@pytest.mark.parametrize("variable", ["ASSAY_CACHE", "XDG_CACHE_HOME"])
def test_cache_folder_that_cannot_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    file, loop = tmp_path / "assay", tmp_path / "loop"
    file.touch()
    loop.symlink_to(loop)
    monkeypatch.delenv("ASSAY_CACHE", raising=False)
    monkeypatch.setenv(variable, str(file if variable == "ASSAY_CACHE" else tmp_path))
    with pytest.raises(UsageError, match=f"{re.escape(str(file))}.* is not a folder: set ASSAY_CACHE"):
        cache_folder()
    for wrong, inside in ((file, file / "a" / "b"), (loop, loop / "a")):
        monkeypatch.setenv("ASSAY_CACHE", str(inside))
        with pytest.raises(UsageError, match=f"cannot be created, since {re.escape(str(wrong))} is not a folder"):
            cache_folder()


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_private_file_permissions(tmp_path: Path, mode: int):
    path = tmp_path / "secret"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o666)
    write_text(path, "new", mode=mode)
    assert (path.stat().st_mode & 0o777, path.read_text(encoding="utf-8")) == (mode, "new")


KINDS = {"name": str, "like": (str, type(None)), "classes": list, "done": bool, "count": int}
SOUND = '{"name": "a", "like": null, "classes": ["b"], "done": false, "count": 2, "more": 1.5}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "3", "null", "{", "\ufeff{}", "[" * 100_000, '{"a":' * 100_000, "9" * 5000),
        SOUND.replace('"a"', "5"),
        SOUND.replace("null", "[]"),
        SOUND.replace('["b"]', '"b"'),
        SOUND.replace('["b"]', "[1]"),
        SOUND.replace('["b"]', "7"),
        SOUND.replace("false", "0"),
        SOUND.replace("2", "true"),
        SOUND.replace("2", "-2"),
        SOUND.replace("2", '"2"'),
        SOUND.replace('"like": null, ', ""),
        SOUND.replace('"done"', '"dome"'),
    ],
)
def test_damaged_json_state_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(SOUND, encoding="utf-8")
    found = read_json_state(path, KINDS)
    assert found is not None
    assert found["more"] == 1.5
    path.write_text(text, encoding="utf-8")
    assert read_json_state(path, KINDS) is None
    path.write_bytes(b"\xff\xfe" + text.encode("utf-16-le"))
    assert read_json_state(path, KINDS) is None


def test_permissions_follow_the_umask_which_is_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", lambda _: pytest.fail("another thread could create a file meanwhile"))
            write_text(tmp_path / "new.txt", "text")
        assert (tmp_path / "new.txt").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file" / "page.html", tmp_path / "file" / "a" / "b"):
        with pytest.raises(OSError, match=r"File exists|Not a directory") as raised:
            write_text(path, "x")
        assert write_error_reason(raised.value, path) == f"{tmp_path / 'file'} is a file, not a folder"
    assert write_error_reason(PermissionError(13, "Permission denied"), tmp_path / "x") == "Permission denied"
