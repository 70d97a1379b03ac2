"""Answers kept on disk as they come, so that work that was stopped or killed can go on where it was.

Knows rows and files; nothing of models.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from assay.errors import UsageError
from assay.inference.answers import Row, to_line, unicode_path

if sys.platform != "win32":
    import fcntl


class Partial:
    """A file of JSON lines: the first says under what conditions, then a line for every answer.

    One process at a time may have it open (on Windows nobody is kept out). Use it in a `with` statement.

    Attributes:
        path: where it lies.
        kept: rows that were there when it was opened, and are as good as new.
    """

    def __init__(self, path: Path, conditions: dict[str, Any], batch_size: int) -> None:
        """Open the file, or make it.

        Args:
            path: its folder is made if it is missing.
            conditions: plain values that decide the answers; they must be those of the first time.
            batch_size: photos that are answered together. Only whole batches are kept, since the last digits
                of an answer may depend on which photos stood beside it.

        Raises:
            UsageError: the file is from other conditions, or another process is at work on it.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a+b")
        try:
            self._lock()
            self.kept = self._recover(conditions, batch_size)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def add(self, rows: Iterable[Row]) -> None:
        """Write answers down; they survive the end of this process however it comes."""
        self._stream.write("".join(to_line(row) + "\n" for row in rows).encode())
        self._stream.flush()

    def rows(self) -> Iterator[Row]:
        """Give all answers so far, in order, one at a time."""
        with self.path.open("rb") as stream:
            stream.readline()
            for line in stream:
                yield json.loads(line)

    def skip(self, photos: Iterator[Path]) -> None:
        """Take from `photos` those that are answered, and make sure that they are the same.

        Raises:
            UsageError: other photos come now.
        """
        for row in self.rows():
            photo = next(photos, None)
            if photo is None or unicode_path(str(photo)) != row["source"]:
                raise UsageError(
                    f"{self.path} was begun with other photos ({row['source']} is not where it was): "
                    "delete it to begin anew"
                )

    def remove(self) -> None:
        """Delete the file: it has served."""
        self._stream.close()
        self.path.unlink(missing_ok=True)

    def _lock(self) -> None:
        if sys.platform != "win32":
            try:
                fcntl.flock(self._stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"another process is at work on {self.path}: wait for it, or end it first"
                ) from None

    def _recover(self, conditions: dict[str, Any], batch_size: int) -> int:
        """Check the first line, cut off what is not whole, and count the rows that stay."""
        self._stream.seek(0)
        first = self._stream.readline()
        if not first.endswith(b"\n"):
            self._stream.truncate(0)
            self._stream.write((to_line(conditions) + "\n").encode())
            self._stream.flush()
            return 0
        if _parsed(first) != conditions:
            raise UsageError(
                f"{self.path} was begun with another model or other options: use those again, or delete it "
                "to begin anew"
            )
        good, kept, length = len(first), 0, len(first)
        for count, line in enumerate(self._stream, start=1):
            if not line.endswith(b"\n") or _parsed(line) is None:
                break
            length += len(line)
            if count % batch_size == 0:
                good, kept = length, count
        self._stream.truncate(good)
        self._stream.seek(0, os.SEEK_END)
        return kept


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def partial_path(out: Path) -> Path:
    """Tell where the answers lie until `out` is complete: beside it."""
    return out.with_name(out.name + ".partial")
