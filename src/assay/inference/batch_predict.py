"""Classify any number of images into one file in constant memory; interrupted runs resume from a log."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

from assay.core.errors import UsageError
from assay.core.files import atomic_write
from assay.core.locks import try_lock
from assay.core.progress import Progress, no_progress
from assay.inference.classifier import BATCH_SIZE, Classifier
from assay.inference.inputs import require_final
from assay.inference.prediction import Failure
from assay.inference.prediction_tables import (
    PredictionRow,
    check_output_path,
    json_line,
    prediction_row,
    unicode_path,
    write_predictions,
)

PROGRESS_LABEL: Final = "classifying"
_MAX_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """Counts of a batch prediction.

    Attributes:
        count: images that were classified, including those of an earlier, interrupted run.
        unreadable: images that could not be read; the table contains each with its reason.
        examples: the first few of those, as sentences.
        resumed: rows taken over from an interrupted run.
    """

    count: int
    unreadable: int
    examples: tuple[str, ...]
    resumed: int


class ResumeLog:
    """A file of JSON lines: the conditions of the run, then one row per image.

    Only one process at a time can open it (on Windows this is not enforced). Use it in a `with` statement. The `kept`
    rows of an interrupted run are reused.
    """

    def __init__(self, path: Path, conditions: dict[str, Any], batch_size: int) -> None:
        """Open or create the log.

        `conditions` are plain values that determine the predictions; an existing log must have the same. Only whole
        batches are kept, since the last digits of a prediction can depend on the other images of its batch.

        Raises:
            UsageError: the log has other conditions, or another process uses it.
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
        """Append rows and flush them to the operating system, so that they survive a killed process."""
        self._stream.write("".join(json_line(row) + "\n" for row in rows).encode())
        self._stream.flush()

    def rows(self) -> Iterator[PredictionRow]:
        """Yield all rows in order."""
        with self.path.open("rb") as stream:
            stream.readline()
            for line in stream:
                yield json.loads(line)

    def skip(self, photos: Iterator[Path]) -> None:
        """Advance `photos` past those that are in the log; `UsageError` if they differ from the log."""
        for row in self.rows():
            photo = next(photos, None)
            if photo is None or unicode_path(str(photo)) != row["source"]:
                raise UsageError(
                    f"{self.path} was started with other photos ({row['source']} is missing or has moved): "
                    "delete it to start over"
                )

    def remove(self) -> None:
        """Delete the log."""
        self._stream.close()
        self.path.unlink(missing_ok=True)

    def _lock(self) -> None:
        if not try_lock(self._stream):
            raise UsageError(f"another process is writing {self.path}: wait for it, or stop it first")

    def _recover(self, conditions: dict[str, Any], batch_size: int) -> int:
        """Check the conditions, truncate to whole batches, and return the number of rows left."""
        self._stream.seek(0)
        first = self._stream.readline()
        if not first.endswith(b"\n"):
            self._stream.truncate(0)
            self._stream.write((json_line(conditions) + "\n").encode())
            self._stream.flush()
            return 0
        if _parse_json(first) != conditions:
            raise UsageError(
                f"{self.path} was started with another model or other options: use those again, or delete it "
                "to start over"
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


def resume_log_path(out: Path) -> Path:
    """Path of the resume log of an output file."""
    return out.with_name(out.name + ".partial")


def batch_predict(
    classifier: Classifier,
    photos: Iterable[Path],
    out: Path,
    *,
    total: int = 0,
    conditions: dict[str, Any] | None = None,
    progress: Progress = no_progress,
) -> BatchSummary:
    """Classify images into a table: JSON lines, CSV or Parquet by the suffix of `out`.

    Rows are saved to a resume log beside `out` (suffix `.partial`) as they are computed. If the run is interrupted, a
    call with the same arguments resumes it, and the table is byte for byte the same as without the interruption. `out`
    is written atomically at the end. `photos` are consumed slightly ahead of the predictions; `total` is used for
    `progress` only; `conditions` are plain values, besides the model, that determine the predictions.

    Raises:
        UsageError: `out` has an unknown suffix; the resume log has another model, other images or other conditions;
            or another process uses it.
        AssayError: the storage of a photo failed; the results of earlier batches are kept.
        OSError: a file cannot be written.
    """
    check_output_path(out)
    all_conditions = {
        "model": classifier.info.version,
        "engine": classifier.engine.name,
        "precision": classifier.precision,
        **(conditions or {}),
    }
    with ResumeLog(resume_log_path(out), all_conditions, BATCH_SIZE) as log:
        stream = iter(photos)
        log.skip(stream)
        done = log.kept
        predictions = classifier.stream(stream)
        while batch := list(islice(predictions, BATCH_SIZE)):
            for answer in batch:
                if isinstance(answer, Failure):
                    require_final(answer)
            log.add(map(prediction_row, batch))
            done += len(batch)
            progress(PROGRESS_LABEL, done, max(total, done + 1))
        summary = _summarize(log)
        with atomic_write(out) as temporary:
            abstention = classifier.abstention is not None
            write_predictions(temporary, log.rows(), classifier.classes, abstention=abstention, suffix=out.suffix)
        log.remove()
    return summary


def _parse_json(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _summarize(log: ResumeLog) -> BatchSummary:
    count = unreadable = 0
    examples: list[str] = []
    for row in log.rows():
        if "error" not in row:
            count += 1
            continue
        unreadable += 1
        if len(examples) < _MAX_EXAMPLES:
            examples.append(f"{row['source']}: {row['error']}")
    return BatchSummary(count, unreadable, tuple(examples), log.kept)
