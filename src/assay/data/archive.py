"""Archives from strangers, unpacked whole or not at all: zip, and tar with gzip, bzip2 or xz.

Nothing is written outside the folder, no link or device is ever made, and every byte is counted as it comes,
since the sizes in headers may lie. Knows nothing of images or of where the archive came from.
"""

import bz2
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from assay.data.entries import Entries
from assay.errors import AssayError
from assay.progress import Progress, silent
from assay.temporary import temporary_folder

_Plain = IO[bytes] | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
_BLOCK = 1 << 18
_HEADER_BYTES = 1 << 20
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    struct.error,
    EOFError,
    ValueError,  # what the libraries let through when a header's numbers or text make no sense
    LookupError,
    ArithmeticError,
    NotImplementedError,
)


@dataclass(frozen=True)
class Limits:
    """What an archive may expand to."""

    total: int = 50 * 1024**3
    """Bytes in all."""
    ratio: int = 200
    """Bytes in all for each byte of the archive; photos hardly shrink, bombs are made of what does."""
    free: int = 64 * 1024**2
    """Bytes below which the ratio is not looked at."""
    entries: int = 5_000_000
    """Files and folders."""


class _Budget:
    """Counts bytes against the limits."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self.archive = archive
        self.most = min(limits.total, max(limits.free, limits.ratio * archive.stat().st_size))
        self.spent = 0

    def spend(self, count: int) -> None:
        self.spent += count
        if self.spent > self.most:
            raise AssayError(f"{self.archive} expands to more than {self.most:,} bytes and was not unpacked")


def unpack(archive: Path, to: Path, limits: Limits | None = None, *, progress: Progress = silent) -> Path:
    """Unpack an archive into the new folder `to`.

    The format is judged by content. Modes, owners and dates in the archive are ignored. A lone folder that
    holds all the others is left out, so that class folders stand directly in `to`.

    Args:
        archive: the file.
        to: must not exist, or be an empty folder; while it is filled it has another name beside this one.
        limits: what the archive may expand to.
        progress: told entries done (zip) or archive bytes read (tar), and in all.

    Returns:
        `to`.

    Raises:
        AssayError: not an archive, damaged, truncated, encrypted, beyond the limits, or with an entry that
            leaves the folder, is not a plain file or folder, or stands where another does. Nothing is left.
    """
    with whole_folder(to) as folder:
        extract(archive, folder, limits, progress=progress)
        lift(folder)
    return to


def extract(
    archive: Path, folder: Path, limits: Limits | None = None, *, progress: Progress = silent
) -> None:
    """Write an archive's files into an existing folder, as they stand; an error leaves some there.

    Raises:
        AssayError: as `unpack` does.
    """
    limits = limits or Limits()
    try:
        with archive.open("rb") as stream:
            head = stream.read(6)
            stream.seek(0)
            entries = Entries(archive, folder, limits.entries)
            budget = _Budget(archive, limits)
            if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
                _extract_zip(stream, entries, budget, progress)
            else:
                _extract_tar(stream, head, entries, budget, progress)
    except _DAMAGE as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise AssayError(
            f"{archive} is damaged or no zip or tar archive ({detail[:120]}); download it again"
        ) from None
    except OSError as error:
        where = error.filename or folder
        raise AssayError(f"{archive} could not be unpacked: {where}: {error.strerror or error}") from None
    if not entries.files:
        raise AssayError(f"{archive} holds no files; nothing was unpacked")


def _extract_zip(stream: IO[bytes], entries: Entries, budget: _Budget, progress: Progress) -> None:
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        for done, member in enumerate(members, 1):
            kind = stat.S_IFMT(member.external_attr >> 16)
            # The library ends a name at NUL; `orig_filename` is what really stands there.
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


def _extract_tar(
    stream: IO[bytes], head: bytes, entries: Entries, budget: _Budget, progress: Progress
) -> None:
    size = entries.archive.stat().st_size
    with _decompressed(stream, head) as plain:
        counted = _Counted(plain, budget)
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
            # The library takes a damaged header for the end; the real end is a block of zeros.
            if counted.at(archive.offset, tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it ends in the middle")
        counted.drain()
    progress("unpacking", size, size)


def _decompressed(stream: IO[bytes], head: bytes) -> _Plain:
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(stream)
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(stream)
    return stream


class _Counted(io.BufferedIOBase):
    """What the tar library reads from: counts every byte, headers too, and remembers the last of them."""

    def __init__(self, stream: _Plain, budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget
        self._tail = b""
        self._allowed = _HEADER_BYTES
        self.count = 0

    def allow(self, count: int) -> None:
        """Let so many more bytes be read: a header must not fill the memory."""
        self._allowed = self.count + count + tarfile.RECORDSIZE

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, counted."""
        block = self._stream.read(-1 if size is None else size)
        self._budget.spend(len(block))
        self.count += len(block)
        if self.count > self._allowed:
            raise tarfile.ReadError("a header of more than a megabyte")
        self._tail = (self._tail + block)[-2 * tarfile.RECORDSIZE :]
        return block

    def at(self, offset: int, size: int) -> bytes:
        """Return bytes that were read not long ago, by their place in the tar."""
        start = offset - (self.count - len(self._tail))
        return self._tail[max(start, 0) : max(start, 0) + size]

    def drain(self) -> None:
        """Read to the end, where the compression keeps its checksum."""
        while block := self._stream.read(_BLOCK):
            self._budget.spend(len(block))


def _copy(source: IO[bytes], target: Path, budget: _Budget | None) -> int:
    copied = 0
    with target.open("xb") as stream:
        while block := source.read(_BLOCK):
            if budget:
                budget.spend(len(block))
            copied += stream.write(block)
    return copied


@contextmanager
def whole_folder(to: Path) -> Iterator[Path]:
    """Give a temporary folder beside `to`; rename it to `to` when the block ends well, else delete it.

    Raises:
        AssayError: `to` exists and is not an empty folder, or cannot be made.
    """
    check_free(to)
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


def check_free(to: Path) -> None:
    """Make sure that a folder can be made at `to` without touching anything.

    Raises:
        AssayError: something is there that is not an empty folder.
    """
    if to.is_symlink() or (to.exists() and not (to.is_dir() and not any(to.iterdir()))):
        raise AssayError(f"{to} exists already and is not touched; choose another folder, or delete it first")


def lift(folder: Path) -> None:
    """While all there is in `folder` is one folder that holds folders, put its content in its place."""
    while True:
        inside = [path for path in folder.iterdir() if not _clutter(path.name)]
        if (
            len(inside) != 1
            or not inside[0].is_dir()
            or not any(path.is_dir() for path in inside[0].iterdir())
        ):
            return
        lifted = inside[0].rename(folder.with_name("lifted"))
        shutil.rmtree(folder)
        lifted.rename(folder)


def _clutter(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
