"""The zip file of a bundle."""

import errno
import io
import os
import zipfile
from pathlib import Path

import pytest

from assay.bundle import BundleError
from assay.bundle.archive import BundleArchive, write_members

MEMBERS = {
    "assay.json": b"{}",
    "model.onnx": b"model" * 1000,
    "weights.safetensors": b"",
    "card.md": b"# card",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.assay"


def test_members_survive_a_round_trip(path: Path) -> None:
    write_members(path, MEMBERS)
    container = BundleArchive(path)
    assert container.names == frozenset(MEMBERS)
    assert {name: container.read(name) for name in MEMBERS} == MEMBERS


def test_container_is_a_regular_zip_file(path: Path) -> None:
    write_members(path, MEMBERS)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(MEMBERS)
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_bytes_do_not_depend_on_order_and_time(path: Path) -> None:
    write_members(path, MEMBERS)
    first = path.read_bytes()
    write_members(path, dict(reversed(MEMBERS.items())))
    assert path.read_bytes() == first


def test_failed_write_leaves_the_old_file(path: Path) -> None:
    write_members(path, MEMBERS)
    before = path.read_bytes()
    with pytest.raises(BundleError, match="cannot be written"):
        write_members(path / "below a file.assay", MEMBERS)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_missing_member_is_named(path: Path) -> None:
    write_members(path, MEMBERS)
    with pytest.raises(BundleError, match=r"holds no model\.int8\.onnx"):
        BundleArchive(path).read("model.int8.onnx")


def test_compressed_members_are_rejected(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.onnx", bytes(100_000_000))
    assert path.stat().st_size < 200_000
    with pytest.raises(BundleError, match=r"model\.onnx is compressed, and bundles never are"):
        BundleArchive(path)


def test_member_larger_than_the_file_is_rejected(path: Path) -> None:
    write_members(path, MEMBERS)
    content = path.read_bytes()
    size = (5000).to_bytes(4, "little")
    path.write_bytes(content.replace(size, (1 << 31).to_bytes(4, "little")))
    with pytest.raises(BundleError, match="claims 2147483648 bytes"):
        BundleArchive(path)


def test_overlapping_members_are_rejected(path: Path) -> None:
    write_members(path, MEMBERS)
    content = bytearray(path.read_bytes())
    # The directory entry of the card declares the size of the whole file.
    at = content.rindex(b"card.md") - 46
    long = (len(content) - 100).to_bytes(4, "little")
    content[at + 20 : at + 28] = long * 2
    path.write_bytes(content)
    with pytest.raises(BundleError, match="overlap"):
        BundleArchive(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_duplicate_members_are_rejected(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.onnx", b"one")
        archive.writestr("model.onnx", b"two")
    with pytest.raises(BundleError, match=r"holds 'model\.onnx' twice"):
        BundleArchive(path)


def test_encrypted_members_are_rejected(path: Path) -> None:
    write_members(path, MEMBERS)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"model.onnx") - 46 + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="encrypted"):
        BundleArchive(path)


def test_other_files_raise_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"absent\.assay does not exist"):
        BundleArchive(tmp_path / "absent.assay")
    with pytest.raises(BundleError, match="is a folder, not a bundle"):
        BundleArchive(tmp_path)
    for name, content in {"empty": b"", "text": b"hello", "jpeg": b"\xff\xd8\xff\xe0" * 100}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BundleError, match=f"{name} is not a bundle"):
            BundleArchive(tmp_path / name)


def test_a_disk_error_is_not_a_damaged_bundle(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop.assay").symlink_to("loop.assay")
    with pytest.raises(BundleError, match=r"loop\.assay cannot be read \(Too many levels of symbolic links\)"):
        BundleArchive(tmp_path / "loop.assay")

    def fail(_: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("assay.bundle.archive.open_file", fail)
    with pytest.raises(BundleError, match=r"cannot be read \(Input/output error\): check the path and the disk"):
        BundleArchive(path)


def test_a_cut_bundle_is_damaged(path: Path) -> None:
    write_members(path, MEMBERS)
    whole = path.read_bytes()
    for length in (4, 5, 30, 100, len(whole) // 2, len(whole) - 22, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BundleError, match="is damaged or cut short"):
            BundleArchive(path)


def test_empty_zip_is_not_a_bundle(path: Path) -> None:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    path.write_bytes(buffer.getvalue())
    with pytest.raises(BundleError, match="is not a bundle"):
        BundleArchive(path)


def test_file_truncated_while_open_raises(path: Path) -> None:
    write_members(path, MEMBERS)
    container = BundleArchive(path)
    path.write_bytes(path.read_bytes()[:200])
    for read in (container.read, container.sha256):
        with pytest.raises(BundleError, match=r"model\.onnx cannot be read"):
            read("model.onnx")
