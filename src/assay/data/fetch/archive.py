"""Unpack untrusted zip and tar archives: no path traversal, no links, limited size, all or nothing."""

import bz2
import gzip
import io
import lzma
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from assay.core.errors import AssayError
from assay.core.files import temporary_folder
from assay.core.progress import Progress, no_progress

_DRIVE = re.compile(r"^[A-Za-z]:")


class ArchivePaths:
    """Maps the entries of one archive to paths below a folder, or refuses them.

    No two entries may have the same path, also on file systems that ignore case or normalise accents.
    """

    def __init__(self, archive: Path, root: Path, limit: int) -> None:
        self.archive = archive
        self.root = root
        self.files = 0
        self._limit = limit
        self._count = 0
        self._places: dict[str, tuple[str, bool]] = {}

    def folder(self, name: str) -> None:
        """Create the folder for the entry `name`; `AssayError` if the name is refused."""
        self._make_folders(name, self._parts(name))

    def file(self, name: str) -> Path:
        """Return a path that does not exist yet for the entry `name`; `AssayError` if the name is refused."""
        parts = self._parts(name)
        if not parts or name.endswith("/"):
            raise self.refusal(name, "is a file with a folder's name")
        self._make_folders(name, parts[:-1])
        if not self._place(name, parts, is_file=True):
            raise self.refusal(name, "stands in the archive twice")
        self.files += 1
        return self.root.joinpath(*parts)

    def refusal(self, name: str, reason: str) -> AssayError:
        """Return the error for an archive that was not unpacked."""
        shown = name.encode("unicode_escape").decode("ascii")
        if len(shown) > 80:
            shown = f"{shown[:60]}…{shown[-17:]}"
        return AssayError(f"{self.archive} was not unpacked because its entry '{shown}' {reason}")

    def _make_folders(self, name: str, parts: tuple[str, ...]) -> None:
        new = [self._place(name, parts[:depth], is_file=False) for depth in range(1, len(parts) + 1)]
        if any(new):
            self.root.joinpath(*parts).mkdir(parents=True, exist_ok=True)

    def _place(self, name: str, parts: tuple[str, ...], *, is_file: bool) -> bool:
        """Register an entry; return whether its path is new."""
        path = "/".join(parts)
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        known = self._places.setdefault(key, (path, is_file))
        if known[0] != path:
            raise self.refusal(name, f"differs only in case or accents from {known[0]!r}")
        if known[1] != is_file:
            raise self.refusal(name, "is both a file and a folder")
        new = len(self._places) > self._count
        self._count = len(self._places)
        if self._count > self._limit:
            raise AssayError(f"{self.archive} has more than {self._limit:,} entries and was not unpacked")
        return new

    def _parts(self, name: str) -> tuple[str, ...]:
        """Split a name into its components; `a//./b` is `a/b`."""
        parts = tuple(part for part in name.split("/") if part not in {"", "."})
        if name.startswith("/") or _DRIVE.match(name) or ".." in parts:
            raise self.refusal(name, "leads out of the folder")
        if "\\" in name:
            raise self.refusal(name, "has a backslash, which is a separator on some systems")
        if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
            raise self.refusal(name, "has a control character or is no valid text")
        if any(len(part.encode()) > 255 for part in parts) or len(name.encode()) > 1024 or len(parts) > 32:
            raise self.refusal(name, "has a name that is too long or too deep")
        return parts


_PlainStream = IO[bytes] | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
_BLOCK_BYTES = 1 << 18
_HEADER_BYTES = 1 << 20
_DAMAGE_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    struct.error,
    EOFError,
    ValueError,  # raised by the libraries for invalid numbers or text in headers
    LookupError,
    ArithmeticError,
    NotImplementedError,
)


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits on the size of an unpacked archive."""

    max_bytes: int = 50 * 1024**3
    """Total bytes."""
    max_ratio: int = 200
    """Total bytes per byte of the archive: images barely compress, archive bombs do."""
    ratio_exempt_bytes: int = 64 * 1024**2
    """Total bytes below which the ratio is not checked."""
    max_entries: int = 5_000_000
    """Files and folders."""


class _Budget:
    def __init__(self, archive: Path, limits: ArchiveLimits) -> None:
        self.archive = archive
        self.most = min(limits.max_bytes, max(limits.ratio_exempt_bytes, limits.max_ratio * archive.stat().st_size))
        self.spent = 0

    def spend(self, count: int) -> None:
        self.spent += count
        if self.spent > self.most:
            raise AssayError(f"{self.archive} expands to more than {self.most:,} bytes and was not unpacked")


def unpack(archive: Path, to: Path, limits: ArchiveLimits | None = None, *, progress: Progress = no_progress) -> Path:
    """Unpack an archive into the new folder `to` and return it.

    The format is detected by content. Modes, owners and dates in the archive are ignored. A single top-level folder
    that contains only folders is removed, so that class folders are directly in `to`.

    Args:
        archive: the file.
        to: must not exist or be empty; a temporary folder beside it is filled and renamed.
        limits: limits on the unpacked size.
        progress: called with the step, the number done and the total.

    Raises:
        AssayError: not an archive, damaged, truncated, encrypted, beyond the limits, or with an entry that leaves
            the folder, is not a plain file or folder, or has the path of another. Nothing is left behind.
    """
    with atomic_folder(to) as folder:
        extract(archive, folder, limits, progress=progress)
        lift_single_folder(folder)
    return to


def extract(
    archive: Path, folder: Path, limits: ArchiveLimits | None = None, *, progress: Progress = no_progress
) -> None:
    """Unpack an archive into an existing folder; an error, as for `unpack`, leaves partial results."""
    limits = limits or ArchiveLimits()
    try:
        with archive.open("rb") as stream:
            head = stream.read(6)
            stream.seek(0)
            entries = ArchivePaths(archive, folder, limits.max_entries)
            budget = _Budget(archive, limits)
            if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
                _extract_zip(stream, entries, budget, progress)
            else:
                _extract_tar(stream, head, entries, budget, progress)
    except _DAMAGE_ERRORS as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise AssayError(f"{archive} is damaged or no zip or tar archive ({detail[:120]}); download it again") from None
    except OSError as error:
        where = error.filename or folder
        raise AssayError(f"{archive} could not be unpacked: {where}: {error.strerror or error}") from None
    if not entries.files:
        raise AssayError(f"{archive} holds no files; nothing was unpacked")


def _extract_zip(stream: IO[bytes], entries: ArchivePaths, budget: _Budget, progress: Progress) -> None:
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        for done, member in enumerate(members, 1):
            kind = stat.S_IFMT(member.external_attr >> 16)
            # The library truncates names at NUL; `orig_filename` is complete.
            name = member.orig_filename
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise entries.refusal(name, "is a link or device, not a plain file")
            if member.flag_bits & 0x1:
                raise entries.refusal(name, "is encrypted")
            if member.is_dir() or kind == stat.S_IFDIR:
                entries.folder(name)
                continue
            with archive.open(member) as source:
                if _copy(source, entries.file(name), budget) != member.file_size:
                    raise zipfile.BadZipFile(f"{name} has another size than the directory says")
            progress("unpacking", done, len(members))


def _extract_tar(stream: IO[bytes], head: bytes, entries: ArchivePaths, budget: _Budget, progress: Progress) -> None:
    size = entries.archive.stat().st_size
    with _decompressed(stream, head) as plain:
        counted = _CountingReader(plain, budget)
        with tarfile.open(fileobj=counted, mode="r|", bufsize=tarfile.RECORDSIZE) as archive:
            for member in archive:
                if member.isdir():
                    entries.folder(member.name)
                elif not member.isreg() or member.issparse():
                    raise entries.refusal(member.name, "is a link or device, not a plain file")
                else:
                    source = archive.extractfile(member)
                    if source is None or member.size < 0:
                        raise tarfile.ReadError("a file without content")
                    counted.allow(member.size + _HEADER_BYTES)
                    _copy(source, entries.file(member.name), budget=None)
                counted.allow(_HEADER_BYTES)
                progress("unpacking", min(stream.tell(), size - 1), size)
            # The library treats a damaged header as the end; the real end is a block of zeros.
            if counted.at(archive.offset, tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it ends in the middle")
        counted.drain()
    progress("unpacking", size, size)


def _decompressed(stream: IO[bytes], head: bytes) -> _PlainStream:
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(stream)
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(stream)
    return stream


class _CountingReader(io.BufferedIOBase):
    """Reader for the tar library that counts all bytes, including headers, and keeps the last of them."""

    def __init__(self, stream: _PlainStream, budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget
        self._tail = b""
        self._allowed = _HEADER_BYTES
        self.count = 0

    def allow(self, count: int) -> None:
        """Allow `count` more bytes to be read, so that a header cannot exhaust memory."""
        self._allowed = self.count + count + tarfile.RECORDSIZE

    def read(self, size: int | None = -1, /) -> bytes:
        block = self._stream.read(-1 if size is None else size)
        self._budget.spend(len(block))
        self.count += len(block)
        if self.count > self._allowed:
            raise tarfile.ReadError("a header of more than a megabyte")
        self._tail = (self._tail + block)[-2 * tarfile.RECORDSIZE :]
        return block

    def at(self, offset: int, size: int) -> bytes:
        """Return recently read bytes, by their offset in the tar."""
        start = offset - (self.count - len(self._tail))
        return self._tail[max(start, 0) : max(start, 0) + size]

    def drain(self) -> None:
        """Read to the end, where the checksum of the compression is."""
        while block := self._stream.read(_BLOCK_BYTES):
            self._budget.spend(len(block))


def _copy(source: IO[bytes], target: Path, budget: _Budget | None) -> int:
    copied = 0
    with target.open("xb") as stream:
        while block := source.read(_BLOCK_BYTES):
            if budget:
                budget.spend(len(block))
            copied += stream.write(block)
    return copied


@contextmanager
def atomic_folder(to: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `to`; rename it to `to` if the block succeeds, otherwise delete it.

    Raises `AssayError` if `to` exists and is not an empty folder, or cannot be created.
    """
    require_unused_path(to)
    with ExitStack() as cleanup:
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            # A folder inside, since the temporary one itself is closed to others.
            folder = cleanup.enter_context(temporary_folder(to.name, beside=to.parent)) / "whole"
            folder.mkdir()
        except OSError as error:
            raise AssayError(f"{to} cannot be made ({error.strerror}); choose another folder") from None
        yield folder
        folder.replace(to)


def require_unused_path(to: Path) -> None:
    """Raise `AssayError` if something other than an empty folder exists at `to`."""
    if to.is_symlink() or (to.exists() and not (to.is_dir() and not any(to.iterdir()))):
        raise AssayError(f"{to} exists already and is not touched; choose another folder, or delete it first")


def lift_single_folder(folder: Path) -> None:
    """While `folder` contains only one folder, which contains folders, replace that folder by its content."""
    while True:
        inside = [path for path in folder.iterdir() if not _is_metadata(path.name)]
        if len(inside) != 1 or not inside[0].is_dir() or not any(path.is_dir() for path in inside[0].iterdir()):
            return
        lifted = inside[0].rename(folder.with_name("lifted"))
        shutil.rmtree(folder)
        lifted.rename(folder)


def _is_metadata(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
