"""Classify any number of images into one file in constant memory; interrupted runs resume from a log."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

from assay.core.errors import UsageError
from assay.core.files import atomic_write
from assay.core.progress import Progress, no_progress
from assay.inference.classifier import BATCH_SIZE, Classifier
from assay.inference.prediction_tables import (
    PredictionRow,
    check_output_path,
    json_line,
    prediction_row,
    unicode_path,
    write_predictions,
)

if sys.platform != "win32":
    import fcntl


class ResumeLog:
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

    def add(self, rows: Iterable[PredictionRow]) -> None:
        """Write answers down; they survive the end of this process however it comes."""
        self._stream.write("".join(json_line(row) + "\n" for row in rows).encode())
        self._stream.flush()

    def rows(self) -> Iterator[PredictionRow]:
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
                raise UsageError(f"another process is at work on {self.path}: wait for it, or end it first") from None

    def _recover(self, conditions: dict[str, Any], batch_size: int) -> int:
        """Check the first line, cut off what is not whole, and count the rows that stay."""
        self._stream.seek(0)
        first = self._stream.readline()
        if not first.endswith(b"\n"):
            self._stream.truncate(0)
            self._stream.write((json_line(conditions) + "\n").encode())
            self._stream.flush()
            return 0
        if _parse_json(first) != conditions:
            raise UsageError(
                f"{self.path} was begun with another model or other options: use those again, or delete it "
                "to begin anew"
            )
        good, kept, length = len(first), 0, len(first)
        for count, line in enumerate(self._stream, start=1):
            if not line.endswith(b"\n") or _parse_json(line) is None:
                break
            length += len(line)
            if count % batch_size == 0:
                good, kept = length, count
        self._stream.truncate(good)
        self._stream.seek(0, os.SEEK_END)
        return kept


def _parse_json(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def resume_log_path(out: Path) -> Path:
    """Tell where the answers lie until `out` is complete: beside it."""
    return out.with_name(out.name + ".partial")


PROGRESS_LABEL: Final = "classifying"
"""What `Progress` is told."""

_MAX_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What became of the photos.

    Attributes:
        count: photos that were classified, also by an earlier, interrupted run.
        unreadable: photos that could not be read; the file names each with its reason.
        examples: the first few of those, as sentences.
        resumed: answers that an earlier run had left.
    """

    count: int
    unreadable: int
    examples: tuple[str, ...]
    resumed: int


def batch_predict(
    classifier: Classifier,
    photos: Iterable[Path],
    out: Path,
    *,
    total: int = 0,
    conditions: dict[str, Any] | None = None,
    progress: Progress = no_progress,
) -> BatchSummary:
    """Classify photos into a table: JSON lines, CSV or Parquet by the ending of `out`.

    Answers are kept in a file beside `out`, its name with `.partial` added, as they come. A run that was
    stopped or killed goes on there when it is begun again, and the table is the same, byte for byte, as if
    it had never been interrupted. `out` appears when all is done, whole or not at all.

    Args:
        classifier: answers.
        photos: read once, a little ahead of the answers; in the same order if a run is to go on.
        out: the table; one that exists is replaced at the end.
        total: how many photos there are, if that is known, for `progress` alone.
        conditions: plain values that decide the answers besides the model: a run goes on only under the same.
        progress: told after every photo.

    Raises:
        UsageError: `out` has no known ending, what lies beside it is from another model, other photos or
            other conditions, or another process is at work on it.
        OSError: a file cannot be written.
    """
    check_output_path(out)
    told = {
        "model": classifier.info.version,
        "engine": classifier.engine.name,
        "precision": classifier.precision,
        **(conditions or {}),
    }
    with ResumeLog(resume_log_path(out), told, BATCH_SIZE) as partial:
        stream = iter(photos)
        partial.skip(stream)
        done = partial.kept
        answers = classifier.stream(stream)
        while batch := list(islice(answers, BATCH_SIZE)):
            partial.add(map(prediction_row, batch))
            done += len(batch)
            progress(PROGRESS_LABEL, done, max(total, done + 1))
        tally = _summarize(partial)
        with atomic_write(out) as temporary:
            limits = classifier.limits is not None
            write_predictions(temporary, partial.rows(), classifier.classes, limits=limits, suffix=out.suffix)
        partial.remove()
    return tally


def _summarize(partial: ResumeLog) -> BatchSummary:
    count = unreadable = 0
    examples: list[str] = []
    for row in partial.rows():
        if "error" not in row:
            count += 1
            continue
        unreadable += 1
        if len(examples) < _MAX_EXAMPLES:
            examples.append(f"{row['source']}: {row['error']}")
    return BatchSummary(count, unreadable, tuple(examples), partial.kept)
