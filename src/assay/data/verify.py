"""Opens every file once: is it a photo, can all of it be decoded, what is its digest.

Knows nothing of labels. Threads suffice, since reading, hashing and decoding all release Python's lock.
"""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from assay.data.samples import Sample, Unreadable
from assay.errors import AssayError
from assay.files import open_file
from assay.image import HEAD_BYTES, decode, inspect, sniff
from assay.image.values import UINT8, Values
from assay.photo_files import IMAGE_SUFFIXES, NOT_AN_IMAGE
from assay.progress import Progress, silent
from assay.text import printable

ABSENT = "the file does not exist"
_ENCODING = sys.getfilesystemencoding()
_NOT_UNICODE = "its name is not valid Unicode" + (
    "" if _ENCODING == "utf-8" else f" in this locale ({_ENCODING}); set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
)
_BATCH = 16
# Draft decoding skips pixels, not bytes: a JPEG that lacks one byte of its picture (all but the two of the
# end marker) is still found out, at half the cost of decoding in full.
_DRAFT_SIDE = 1
_DEEP = frozenset({"tiff", "png", "ppm", "jpeg2000"})


class Verified(NamedTuple):
    """The outcome of opening every file."""

    samples: list[Sample]
    """Those that decode, with their digests, in the order given."""
    unreadable: list[Unreadable]
    skipped: Counter[str]
    values: Counter[Values]
    """How many of them hold values of which type and range."""


class _Readable(NamedTuple):
    """A photo that decodes."""

    sample: Sample
    values: Values


_Outcome = _Readable | Unreadable | str


def verify(
    samples: Sequence[Sample], progress: Progress = silent, value_range: tuple[float, float] | None = None
) -> Verified:
    """Open, hash and decode every sample on all cores; keep those that are whole photos.

    A file that is no image and does not claim to be one by its name is skipped; one that claims it, or is
    an image that cannot be decoded to the end, is unreadable.

    Args:
        samples: candidates; labels and splits are passed through.
        progress: told after every few files.
        value_range: the recipe's `preprocess.value_range`.
    """
    kept: list[Sample] = []
    unreadable: list[Unreadable] = []
    skipped: Counter[str] = Counter()
    values: Counter[Values] = Counter()
    done = 0
    for outcomes in _batches(samples, value_range):
        for outcome in outcomes:
            if isinstance(outcome, _Readable):
                kept.append(outcome.sample)
                values[outcome.values] += 1
            elif isinstance(outcome, Unreadable):
                unreadable.append(outcome)
            else:
                skipped[outcome] += 1
        done += len(outcomes)
        progress("Checking photos", done, len(samples))
    return Verified(kept, unreadable, skipped, values)


def _batches(samples: Sequence[Sample], value_range: tuple[float, float] | None) -> Iterable[list[_Outcome]]:
    pool = ThreadPoolExecutor(max_workers=cores(), thread_name_prefix="verify")
    try:
        pieces = [samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH)]
        yield from pool.map(partial(_examine_all, value_range), pieces)
    finally:
        # After an error or Ctrl-C nothing that waits is begun any more.
        pool.shutdown(wait=True, cancel_futures=True)


def _examine_all(value_range: tuple[float, float] | None, samples: Sequence[Sample]) -> list[_Outcome]:
    return [_examine(sample, value_range) for sample in samples]


def _examine(sample: Sample, value_range: tuple[float, float] | None) -> _Outcome:
    data = opened(sample)
    if not isinstance(data, bytes):
        return data
    try:
        decode(data, min_side=_DRAFT_SIDE, value_range=value_range)
        values = _values(data)
    except AssayError as error:
        return Unreadable(sample.id, sample.path, str(error))
    return _Readable(replace(sample, digest=hashlib.sha256(data).hexdigest()), values)


def _values(data: bytes) -> Values:
    """Return type and range of a photo's values; formats that only have 8 bits need no second look."""
    if sniff(data[:HEAD_BYTES]) not in _DEEP:
        return UINT8
    found = inspect(data).values
    return Values(found.type, found.range)


def opened(sample: Sample) -> bytes | Unreadable | str:
    """Return a candidate's bytes, why they cannot be had, or why it is no photo and can be skipped."""
    if not _is_unicode(sample.id):
        return Unreadable(printable(sample.id), sample.path, _NOT_UNICODE)
    try:
        data = sample.read() if sample.tensor else _read_image(sample.path)
    except FileNotFoundError:
        return Unreadable(sample.id, sample.path, ABSENT)
    except OSError as error:
        return Unreadable(sample.id, sample.path, error.strerror or str(error))
    except AssayError as error:
        return Unreadable(sample.id, sample.path, str(error))
    return NOT_AN_IMAGE if data is None else data


def _read_image(path: Path) -> bytes | None:
    """Return the file's bytes, or None if neither content nor name is an image's.

    What does not begin like an image is not read on (films are long); `decode` says what is wrong with it.
    """
    with open_file(path) as stream:
        head = stream.read(HEAD_BYTES)
        if sniff(head):
            return head + stream.read()
        return head if path.suffix.casefold() in IMAGE_SUFFIXES else None


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    # Containers often allow fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
