"""The zip file of a bundle: uncompressed members, written deterministically and read with checks.

Uncompressed members cannot expand, so a bundle never takes more memory than its size on disk.
"""

import errno
import hashlib
import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from assay.core.errors import AssayError
from assay.core.files import NotAFileError, atomic_write, open_file


class BundleError(AssayError):
    """A bundle is invalid, or cannot be read or written; the message names the file."""


INFO = "assay.json"
MODEL = "model.onnx"
MODEL_INT8 = "model.int8.onnx"
WEIGHTS = "weights.safetensors"
NOVELTY = "novelty.safetensors"
CARD = "card.md"

REQUIRED = frozenset({INFO, MODEL, WEIGHTS, CARD})
"""Members that every bundle has."""
ALLOWED = REQUIRED | {MODEL_INT8, NOVELTY}
"""Members that a bundle may have."""

_MAX_MEMBER_SIZES = {INFO: 16 << 20, CARD: 16 << 20}
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_CHUNK_SIZE = 1 << 20
_LOCAL_HEADER = struct.Struct("<26x2H")  # ends with the lengths of the name and of the extra field
# Raised by zipfile and the operating system for damaged files.
_READ_ERRORS = (zipfile.BadZipFile, struct.error, ValueError, EOFError, NotImplementedError, RuntimeError, OSError)


def write_members(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a bundle's members atomically; the same members always give the same bytes.

    Args:
        path: the bundle; an existing one is replaced.
        members: content by name; the names are in `ALLOWED`.

    Raises:
        BundleError: the file cannot be written.
    """
    try:
        with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(members):
                entry = zipfile.ZipInfo(name, _TIMESTAMP)
                entry.create_system = 3
                entry.external_attr = 0o100644 << 16
                archive.writestr(entry, members[name])
    except OSError as error:
        raise BundleError(f"{path} cannot be written: {error.strerror or error}") from None


class BundleArchive:
    """The members of one bundle, opened for reading.

    Args:
        path: the bundle.

    Raises:
        BundleError: the file does not exist, is not a zip file, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise BundleError(f"{path} is a folder, not a bundle: give the .assay file")
        try:
            with open_file(path) as stream:
                if stream.read(4) != b"PK\x03\x04":
                    raise BundleError(f"{path} is not a bundle: give a file that `assay train` wrote")
                self._size = stream.seek(0, io.SEEK_END)
                with zipfile.ZipFile(stream) as archive:
                    self._entries = archive.infolist()
        except NotAFileError as error:
            raise BundleError(str(error)) from None
        except FileNotFoundError:
            raise BundleError(f"{path} does not exist: give the path of an .assay file") from None
        except PermissionError:
            raise BundleError(f"{path} may not be read: check its permissions") from None
        except _READ_ERRORS as error:
            if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
                # A cut zip file leads to invalid positions.
                raise BundleError(f"{path} cannot be read ({error.strerror}): check the path and the disk") from None
            raise BundleError(f"{path} is damaged or cut short: copy or export it again") from None
        self._validate_entries()

    @property
    def names(self) -> frozenset[str]:
        """Names of all members."""
        return frozenset(entry.filename for entry in self._entries)

    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises:
            BundleError: the member is missing or cannot be read.
        """
        return b"".join(self._chunks(name, self._entry(name).file_size))

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a member as 64 hexadecimal digits, reading 1 MiB at a time.

        Raises:
            BundleError: the member is missing or cannot be read.
        """
        digest = hashlib.sha256()
        for chunk in self._chunks(name, _CHUNK_SIZE):
            digest.update(chunk)
        return digest.hexdigest()

    def _chunks(self, name: str, most: int) -> Iterator[bytes]:
        """Yield a member's bytes in pieces of at most `most`.

        Reads the bytes from the file directly: `zipfile` would also compute a CRC-32, which takes half as long as the
        SHA-256 that every caller compares.
        """
        entry = self._entry(name)
        left = entry.file_size
        try:
            with open_file(self.path) as stream:
                stream.seek(entry.header_offset)
                header = stream.read(_LOCAL_HEADER.size)
                skipped = sum(_LOCAL_HEADER.unpack(header))
                stream.seek(skipped, io.SEEK_CUR)
                while left and (chunk := stream.read(min(most, left))):
                    left -= len(chunk)
                    yield chunk
        except (OSError, struct.error, ValueError):
            left = -1
        if left:
            raise BundleError(f"{self.path} is damaged: its {name} cannot be read; copy or export it again")

    def _entry(self, name: str) -> zipfile.ZipInfo:
        for entry in self._entries:
            if entry.filename == name:
                return entry
        raise BundleError(f"{self.path} is not a whole bundle: it holds no {name}")

    def _validate_entries(self) -> None:
        """Reject duplicate, compressed, encrypted, oversized or overlapping members before any is read."""
        seen: set[str] = set()
        for entry in self._entries:
            name = entry.filename
            if name in seen:
                raise BundleError(f"{self.path} holds {name!r} twice and is not to be trusted")
            seen.add(name)
            if name not in ALLOWED:
                continue
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise BundleError(f"{self.path} is not a bundle: its {name} is compressed, and bundles never are")
            if entry.flag_bits & 1:
                raise BundleError(f"{self.path} is not a bundle: its {name} is encrypted, and bundles never are")
            if entry.file_size > _MAX_MEMBER_SIZES.get(name, self._size):
                raise BundleError(f"{self.path} is damaged: its {name} claims {entry.file_size} bytes")
        if sum(entry.file_size for entry in self._entries if entry.filename in ALLOWED) > self._size:
            raise BundleError(f"{self.path} is not to be trusted: its members overlap")
