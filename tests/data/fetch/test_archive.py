"""Malicious and damaged archives are rejected, and nothing is written or left behind."""

import bz2
import gzip
import io
import lzma
import random
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.core.errors import AssayError
from assay.data.fetch.archive import ArchiveLimits, atomic_folder, unpack

NOISE = random.Random(0).randbytes(40_000)
PHOTOS = {
    "cats/1.jpg": NOISE[:30_000],
    "cats/2.jpg": b"two",
    "dogs/1.jpg": NOISE[30_000:],
    "dogs/none.jpg": b"",
}
SMALL = ArchiveLimits(max_bytes=2_000_000, max_ratio=50, ratio_exempt_bytes=100_000, max_entries=50)


def tar_of(*members: tuple[tarfile.TarInfo, bytes], **options: object) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", **options) as archive:
        for info, data in members:
            info.size = len(data) if info.type in {tarfile.REGTYPE, tarfile.CONTTYPE, b"Z"} else 0
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"x", **options: object) -> bytes:
    """A tar with a good photo, then one entry."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return tar_of((tarfile.TarInfo("cats/1.jpg"), b"photo"), (info, data), **options)


def tar_files(files: Mapping[str, bytes]) -> bytes:
    return tar_of(*((tarfile.TarInfo(name), data) for name, data in files.items()))


def zip_files(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stream.getvalue()


def zip_named(name: str, mode: int = 0, data: bytes = b"x") -> bytes:
    """A zip with a valid photo, and an entry with this exact name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("cats/1.jpg", b"photo")
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        info.create_system = 3
        info.external_attr = mode << 16
        archive.writestr(info, data)
    return stream.getvalue()


def zip_twice(first: str, second: str) -> bytes:
    """A zip with two entries; the library would not write the same name twice, so it is put in afterwards."""
    other = "#" * len(second.rstrip("/")) + "/" * second.endswith("/")
    data = {name: b"" if name.endswith("/") else b"x" for name in (first, other)}
    return zip_files(data).replace(other.encode(), second.encode())


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def encrypted_zip() -> bytes:
    """Sets the encryption bit in both headers of the only entry."""
    data = bytearray(zip_files({"cats/1.jpg": b"photo"}, zipfile.ZIP_STORED))
    central = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[central + 8] |= 1
    return bytes(data)


def lying_zip(factor: int) -> bytes:
    """An entry whose headers claim another size than it expands to."""
    data = bytearray(zip_files({"cats/1.jpg": bytes(50_000)}))
    for place in (22, data.index(b"PK\x01\x02") + 24):
        size = struct.unpack_from("<I", data, place)[0]
        struct.pack_into("<I", data, place, size * factor)
    return bytes(data)


def overlapping_zip() -> bytes:
    """Many directory entries that share one compressed body: each has its true size, the sum is a bomb."""
    body = zip_files({"cats/0001.jpg": bytes(90_000)})
    start = body.index(b"PK\x01\x02")
    entry = body[start : body.index(b"PK\x05\x06")]
    central = b"".join(entry.replace(b"cats/0001.jpg", b"cats/%04d.jpg" % n) for n in range(1, 41))
    locals_ = b"".join(body[:start].replace(b"cats/0001.jpg", b"cats/%04d.jpg" % n) for n in range(1, 2))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 40, 40, len(central), len(locals_), 0)
    return locals_ + central + end


def huge_header() -> bytes:
    """A tar whose extended header alone holds 1.5 MB."""
    return tar_of(
        (tarfile.TarInfo("cats/1.jpg"), b"photo"),
        (_with_comment("cats/2.jpg", "a" * 1_500_000), b"x"),
        format=tarfile.PAX_FORMAT,
    )


def _with_comment(name: str, comment: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.pax_headers = {"comment": comment}
    return info


def sparse_tar() -> bytes:
    """GNU sparse (format 1.0): 1 TB of holes in a kilobyte."""
    info = tarfile.TarInfo("cats/2.jpg")
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "cats/2.jpg",
        "GNU.sparse.realsize": str(10**12),
    }
    return tar_of((info, b"1\n0\n0\n".ljust(512, b"\0")), format=tarfile.PAX_FORMAT)


def huge_size() -> bytes:
    """A tar header that claims 8 EB (base-256 number)."""
    info = tarfile.TarInfo("cats/2.jpg")
    info.size = 2**62
    return info.tobuf(format=tarfile.GNU_FORMAT) + b"x" * 512 + bytes(1024)


def negative_size() -> bytes:
    header = bytearray(tarfile.TarInfo("cats/2.jpg").tobuf(format=tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


TAR, ZIP = tar_files(PHOTOS), zip_files(PHOTOS)

MALFORMED: dict[str, Callable[[], bytes]] = {
    # leaving the folder
    "tar-parent": lambda: named("../evil.jpg"),
    "tar-parent-inside": lambda: named("cats/../../evil.jpg"),
    "tar-parent-that-returns": lambda: named("cats/../dogs/1.jpg"),
    "tar-absolute": lambda: named("/evil.jpg"),
    "tar-two-slashes": lambda: named("//evil.jpg"),
    "tar-drive": lambda: named("C:/evil.jpg"),
    "tar-drive-relative": lambda: named("c:evil.jpg"),
    "tar-backslash": lambda: named("..\\evil.jpg"),
    "tar-parent-folder": lambda: named("../evil/", tarfile.DIRTYPE),
    "tar-pax-parent": lambda: named("../" + "e" * 200, format=tarfile.PAX_FORMAT),
    "tar-gnu-longname-parent": lambda: named("../" + "e" * 200, format=tarfile.GNU_FORMAT),
    "zip-parent": lambda: zip_named("../evil.jpg"),
    "zip-parent-inside": lambda: zip_named("cats/../../evil.jpg"),
    "zip-absolute": lambda: zip_named("/evil.jpg"),
    "zip-drive": lambda: zip_named("C:/evil.jpg"),
    "zip-backslash": lambda: zip_named("..\\evil.jpg"),
    "zip-parent-folder": lambda: zip_named("../evil/", data=b""),
    # not plain files
    "tar-symlink": lambda: named("cats/2.jpg", tarfile.SYMTYPE, "/etc/passwd"),
    "tar-symlink-inside": lambda: named("cats/2.jpg", tarfile.SYMTYPE, "1.jpg"),
    "tar-symlink-folder-then-file": lambda: tar_of(
        (_link("cats", tarfile.SYMTYPE, ".."), b""), (tarfile.TarInfo("cats/evil.jpg"), b"x")
    ),
    "tar-hardlink": lambda: named("cats/2.jpg", tarfile.LNKTYPE, "cats/1.jpg"),
    "tar-hardlink-outside": lambda: named("cats/2.jpg", tarfile.LNKTYPE, "../../secret"),
    "tar-character-device": lambda: named("cats/2.jpg", tarfile.CHRTYPE),
    "tar-block-device": lambda: named("cats/2.jpg", tarfile.BLKTYPE),
    "tar-fifo": lambda: named("cats/2.jpg", tarfile.FIFOTYPE),
    "tar-unknown-type": lambda: named("cats/2.jpg", b"Z"),
    "tar-sparse": sparse_tar,
    "zip-symlink": lambda: zip_named("cats/2.jpg", stat.S_IFLNK | 0o777, b"/etc/passwd"),
    "zip-fifo": lambda: zip_named("cats/2.jpg", stat.S_IFIFO | 0o666),
    "zip-device": lambda: zip_named("cats/2.jpg", stat.S_IFCHR | 0o666),
    "zip-encrypted": encrypted_zip,
    # names
    "tar-control-character": lambda: named("cats/\x1b[2J.jpg"),
    "tar-newline": lambda: named("cats/1.jpg\nlabel"),
    "tar-no-text": lambda: named("cats/\udcff.jpg"),
    "tar-name-too-long": lambda: named("cats/" + "a" * 256, format=tarfile.PAX_FORMAT),
    "tar-path-too-long": lambda: named("/".join(["a" * 60] * 20), format=tarfile.PAX_FORMAT),
    "tar-too-deep": lambda: named("/".join("a" * 40)),
    "tar-empty-name": lambda: named("./."),
    "zip-nul": lambda: zip_named("cats/2.jpg\0.exe"),
    "zip-newline": lambda: zip_named("cats/2\n.jpg"),
    # one place for two
    "tar-twice": lambda: named("cats/1.jpg"),
    "tar-twice-otherwise-written": lambda: named("./cats//1.jpg"),
    "tar-case": lambda: named("cats/1.JPG"),
    "tar-case-of-folder": lambda: named("Cats/2.jpg"),
    "tar-accents": lambda: tar_files({"caf\u00e9/1.jpg": b"1", "cafe\u0301/2.jpg": b"2"}),
    "tar-file-below-file": lambda: named("cats/1.jpg/2.jpg"),
    "tar-folder-over-file": lambda: named("cats/1.jpg", tarfile.DIRTYPE),
    "tar-file-over-folder": lambda: named("cats"),
    "zip-twice": lambda: zip_twice("cats/1.jpg", "cats/1.jpg"),
    "zip-file-below-file": lambda: zip_twice("cats", "cats/1.jpg"),
    "zip-file-over-folder": lambda: zip_twice("cats/1.jpg", "cats"),
    # bombs
    "zip-ratio": lambda: zip_files({"cats/1.jpg": bytes(1_500_000)}),
    "zip-total": lambda: zip_files({f"cats/{n}.jpg": NOISE for n in range(60)}, zipfile.ZIP_STORED)[:],
    "zip-overlapping": overlapping_zip,
    "zip-entries": lambda: zip_files({f"cats/{n}.jpg": b"" for n in range(60)}),
    "zip-folders": lambda: zip_files({f"cats/{n}/": b"" for n in range(60)}),
    "zip-claims-less": lambda: lying_zip(0),
    "zip-claims-more": lambda: lying_zip(2),
    "tar-gzip-bomb": lambda: gzip.compress(tar_files({"cats/1.jpg": bytes(1_900_000)})),
    "tar-xz-bomb": lambda: lzma.compress(tar_files({"cats/1.jpg": bytes(1_900_000)})),
    "tar-bzip2-bomb": lambda: bz2.compress(tar_files({"cats/1.jpg": bytes(1_900_000)})),
    "tar-bomb-behind-the-end": lambda: gzip.compress(TAR + bytes(5_000_000)),
    "tar-entries": lambda: tar_files({f"cats/{n}.jpg": b"" for n in range(60)}),
    "tar-total": lambda: tar_files({f"cats/{n}.jpg": NOISE for n in range(60)}),
    "tar-huge-header": huge_header,
    "tar-huge-size": huge_size,
    "tar-negative-size": negative_size,
    # damage
    "nothing": lambda: b"",
    "noise": lambda: NOISE,
    "web-page": lambda: b"<!DOCTYPE html><title>404</title>" * 30,
    "rar": lambda: b"Rar!\x1a\x07\x01\x00" + NOISE,
    "seven-zip": lambda: b"7z\xbc\xaf\x27\x1c" + NOISE,
    "gzip-of-no-tar": lambda: gzip.compress(NOISE),
    "zip-empty": lambda: zip_files({}),
    "tar-empty": lambda: tar_files({}),
    "tar-of-folders": lambda: tar_of((_link("cats", tarfile.DIRTYPE, ""), b"")),
    "zip-truncated": lambda: ZIP[: len(ZIP) // 2],
    "zip-directory-truncated": lambda: ZIP[:-30],
    "zip-content-changed": lambda: flipped(ZIP, 20_000),
    "zip-local-name-changed": lambda: flipped(ZIP, 32),
    "zip-unknown-method": lambda: zip_files({"cats/1.jpg": b"x"}).replace(b"\x08\0\0\0!\0", b"\x63\0\0\0!\0"),
    "tar-truncated-content": lambda: TAR[:20_000],
    "tar-truncated-header": lambda: TAR[: 512 + 30_208 + 100],
    "tar-truncated-between-entries": lambda: TAR[: 512 + 30_208],
    "tar-header-changed": lambda: flipped(TAR, 512 + 30_208 + 3),
    "tar-first-header-changed": lambda: flipped(TAR, 3),
    "gzip-truncated": lambda: gzip.compress(TAR)[:20_000],
    "gzip-without-checksum": lambda: gzip.compress(TAR)[:-8],
    "gzip-checksum-wrong": lambda: flipped(gzip.compress(TAR), -6),
    "gzip-content-changed": lambda: flipped(gzip.compress(TAR), 10_000),
    "xz-truncated": lambda: lzma.compress(TAR)[:20_000],
    "xz-content-changed": lambda: flipped(lzma.compress(TAR), 10_000),
    "bzip2-truncated": lambda: bz2.compress(TAR)[:20_000],
    "bzip2-content-changed": lambda: flipped(bz2.compress(TAR), 10_000),
}


def _link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def listing(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_archive_is_rejected(name: str, tmp_path: Path) -> None:
    archive = tmp_path / "downloads" / "archive"
    archive.parent.mkdir()
    archive.write_bytes(MALFORMED[name]())
    (tmp_path / "secret").write_text("untouched")
    before = listing(tmp_path)
    with pytest.raises(AssayError) as refusal:
        unpack(archive, tmp_path / "photos", SMALL)
    assert listing(tmp_path) == before
    assert not Path("/evil.jpg").exists()
    sentence = str(refusal.value)
    assert sentence.startswith(f"{archive} ")
    assert sentence.isprintable()
    assert len(sentence) < 200 + len(str(archive))


def test_number_of_malformed_archives() -> None:
    bodies = {make() for make in MALFORMED.values()}
    assert len(bodies) == len(MALFORMED) >= 40


@pytest.mark.parametrize(
    "body",
    [
        TAR,
        ZIP,
        zip_files(PHOTOS, zipfile.ZIP_STORED),
        zip_files(PHOTOS, zipfile.ZIP_LZMA),
        gzip.compress(TAR),
        bz2.compress(TAR),
        lzma.compress(TAR),
        gzip.compress(TAR[:10_000]) + gzip.compress(TAR[10_000:]),
        tar_of(*((tarfile.TarInfo(f"./{name}"), data) for name, data in PHOTOS.items())),
        tar_of(
            (_link("photos-main", tarfile.DIRTYPE, ""), b""),
            *((tarfile.TarInfo(f"photos-main/{name}"), data) for name, data in PHOTOS.items()),
        ),
        zip_files({f"__MACOSX/{name}": b"" for name in PHOTOS} | {f"a/b/{name}": PHOTOS[name] for name in PHOTOS}),
    ],
)
def test_valid_archive_is_unpacked(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(body)
    folder = unpack(tmp_path / "archive", tmp_path / "photos")
    files = {name: data for name, data in listing(folder).items() if data is not None}
    assert files == PHOTOS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "photos"]


def test_unusual_but_harmless_names(tmp_path: Path) -> None:
    files = {
        "Kätzchen/größe ½.jpg": b"1",
        "Kätzchen/..jpg": b"2",
        "日本/...": b"3",
        "日本/-rf *.jpg": b"4",
        "日本/12:30:00.jpg": b"5",
        "日本/" + "a" * 255: b"6",
    }
    for make in (zip_files, tar_files):
        (tmp_path / "archive").write_bytes(make(files))
        folder = unpack(tmp_path / "archive", tmp_path / make.__name__)
        assert {name: data for name, data in listing(folder).items() if data is not None} == files


def test_single_class_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(zip_files({"photos/cats/1.jpg": b"1"}))
    folder = unpack(tmp_path / "archive", tmp_path / "photos")
    assert listing(folder) == {"cats": None, "cats/1.jpg": b"1"}


def test_modes_in_the_archive_are_ignored(tmp_path: Path) -> None:
    info = tarfile.TarInfo("cats/1.jpg")
    info.mode = 0o6777
    (tmp_path / "archive").write_bytes(tar_of((info, b"1")))
    folder = unpack(tmp_path / "archive", tmp_path / "photos")
    assert stat.S_IMODE((folder / "cats" / "1.jpg").stat().st_mode) & 0o7111 == 0


def test_folder_with_content_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(ZIP)
    (tmp_path / "photos").mkdir()
    unpack(tmp_path / "archive", tmp_path / "photos")
    before = listing(tmp_path)
    with pytest.raises(AssayError, match="exists already"):
        unpack(tmp_path / "archive", tmp_path / "photos")
    assert listing(tmp_path) == before


def test_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(ZIP)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos").symlink_to("elsewhere")
    with pytest.raises(AssayError, match="exists already"):
        unpack(tmp_path / "archive", tmp_path / "photos")
    assert not any((tmp_path / "elsewhere").iterdir())


def test_missing_archive_raises(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="No such file"):
        unpack(tmp_path / "archive", tmp_path / "photos")
    assert not any(tmp_path.iterdir())


class RecordedProgress:
    """Remembers what progress was reported."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        assert what == "unpacking"
        self.steps.append((done, total))


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    for body in (ZIP, gzip.compress(TAR)):
        (tmp_path / "archive").write_bytes(body)
        result = RecordedProgress()
        unpack(tmp_path / "archive", tmp_path / str(len(body)), progress=result)
        done, total = result.steps[-1]
        assert done == total
        assert all(before < total for before, _ in result.steps[:-1])


def fill_and_fail(folder: Path) -> None:
    with atomic_folder(folder) as inside:
        (inside / "file").write_text("half")
        raise ZeroDivisionError


def test_folder_is_removed_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fill_and_fail(tmp_path / "new")
    assert not any(tmp_path.iterdir())


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    body=st.sampled_from([ZIP, TAR, gzip.compress(TAR), lzma.compress(TAR), zip_files({"a": b"x", "b/c": b"y"})]),
    seed=st.integers(0, 2**32),
    ends=st.booleans(),
)
def test_any_damage_raises_an_assay_error_or_is_harmless(tmp_path: Path, body: bytes, seed: int, ends: bool) -> None:
    """Bytes changed at random, in the headers above all: unpacked within the folder, or refused."""
    dice = random.Random(seed)
    changed = bytearray(body)
    for _ in range(dice.randint(1, 8)):
        place = dice.choice([dice.randrange(len(body)), dice.randrange(600), -1 - dice.randrange(400)])
        changed[place % len(changed)] = dice.randrange(256)
    if ends:
        del changed[dice.randrange(len(changed)) :]
    case = tmp_path / str(zlib.crc32(changed))
    case.mkdir(exist_ok=True)
    (case / "archive").write_bytes(changed)
    sentence = ""
    try:
        unpack(case / "archive", case / "photos", SMALL)
    except AssayError as refusal:
        sentence = str(refusal)
    assert sentence.isprintable()
    assert sorted(path.name for path in case.iterdir()) == ["archive", "photos"][: 1 if sentence else 2]
    assert not any(path.is_symlink() for path in case.rglob("*"))
    assert [path.name for path in tmp_path.iterdir()] == [case.name]
    for path in sorted(case.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    case.rmdir()
