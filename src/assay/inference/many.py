"""Answers for any number of photos into one file, in steady memory; what was interrupted goes on.

Knows a classifier, photos and files; nothing of the terminal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from assay.files import replacing
from assay.inference.answers import check_format, to_row, write_rows
from assay.inference.classifier import BATCH_SIZE, Classifier
from assay.inference.partial import Partial, partial_path
from assay.progress import Progress, silent

WORK: Final = "classifying"
"""What `Progress` is told."""

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Tally:
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


def predict_many(
    classifier: Classifier,
    photos: Iterable[Path],
    out: Path,
    *,
    total: int = 0,
    conditions: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> Tally:
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
    check_format(out)
    told = {
        "model": classifier.info.version,
        "engine": classifier.engine.name,
        "precision": classifier.precision,
        **(conditions or {}),
    }
    with Partial(partial_path(out), told, BATCH_SIZE) as partial:
        stream = iter(photos)
        partial.skip(stream)
        done = partial.kept
        answers = classifier.stream(stream)
        while batch := list(islice(answers, BATCH_SIZE)):
            partial.add(map(to_row, batch))
            done += len(batch)
            progress(WORK, done, max(total, done + 1))
        tally = _tally(partial)
        with replacing(out) as temporary:
            limits = classifier.limits is not None
            write_rows(temporary, partial.rows(), classifier.classes, limits=limits, suffix=out.suffix)
        partial.remove()
    return tally


def _tally(partial: Partial) -> Tally:
    count = unreadable = 0
    examples: list[str] = []
    for row in partial.rows():
        if "error" not in row:
            count += 1
            continue
        unreadable += 1
        if len(examples) < _NAMED:
            examples.append(f"{row['source']}: {row['error']}")
    return Tally(count, unreadable, tuple(examples), partial.kept)
