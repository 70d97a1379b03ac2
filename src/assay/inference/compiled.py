"""Compiled models on the disk, so that a process that starts need not compile again.

A cache in every sense: bounded, shared by processes, checked before use, and never the reason why something
fails. Knows nothing of runtimes.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from assay.files import replacing

LIMIT = 512 << 20
"""Bytes that are kept; what was used least recently goes first."""

_SUFFIX = ".blob"


class CompiledModels:
    """A folder of compiled models.

    Args:
        folder: made when the first model is kept.
        limit: bytes to keep at most.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder = folder
        self._limit = limit

    def get(self, key: str) -> bytes | None:
        """Return a compiled model, or None where none is kept or its bytes have changed.

        Args:
            key: hexadecimal digits.
        """
        path = self._path(key)
        try:
            content = path.read_bytes()
            path.touch()
        except OSError:
            return None
        digest, blob = content[:32], content[32:]
        return blob if hashlib.sha256(blob).digest() == digest else None

    def put(self, key: str, blob: bytes) -> None:
        """Keep a compiled model if the folder can be written; one larger than the limit is not kept."""
        if len(blob) > self._limit:
            return
        with suppress(OSError):
            with replacing(self._path(key)) as temporary, temporary.open("wb") as stream:
                stream.write(hashlib.sha256(blob).digest())
                stream.write(blob)
            self._tidy()

    def forget(self, key: str) -> None:
        """Remove a compiled model."""
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _tidy(self) -> None:
        files = [(file, file.stat()) for file in self._folder.glob(f"*{_SUFFIX}")]
        total = sum(status.st_size for _, status in files)
        for file, status in sorted(files, key=lambda pair: pair[1].st_mtime):
            if total <= self._limit:
                break
            file.unlink(missing_ok=True)
            total -= status.st_size
