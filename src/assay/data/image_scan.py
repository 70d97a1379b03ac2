"""One pass over image files: read, hash, decode and measure each of them once, on all cores."""

import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError
from assay.core.files import open_file
from assay.core.progress import Progress, no_progress
from assay.core.text import printable
from assay.data.dataset import Sample, UnreadableFile
from assay.data.feature_store import FeatureStore
from assay.data.features import Features, extract_features, remeasure
from assay.image import HEAD_BYTES, decode, inspect, sniff
from assay.image.image_files import IMAGE_SUFFIXES, NOT_AN_IMAGE
from assay.image.pixel_conversion import UINT8, ValueEncoding, ValueRange

VALUE_RANGE_ADVICE = "set preprocess.value_range to [black, white], which then holds for all of them"
CONVERT_ADVICE = "convert them to one type"


def value_range_conflict(counts: Mapping[ValueEncoding, int], value_range: tuple[float, float] | None) -> str | None:
    """Say in what way photos of more than 8 bits would be scaled by different rules; None if they are not.

    Photos of different types may stand side by side, as 8 and 16 bits: each type has a range of its own.
    Photos of one type that declare different ranges may not: equal values would look different.

    Args:
        counts: photos by type and range.
        value_range: the recipe's `preprocess.value_range`, which holds for all but 8-bit photos.
    """
    deep = {values: count for values, count in counts.items() if values.type != "uint8"}
    if value_range is not None:
        kinds = {values.type.startswith("float") for values in deep}
        return (
            f"integers and floating-point values cannot share a range ({describe_values(deep)})"
            if len(kinds) > 1
            else None
        )
    for name in sorted({values.type for values in deep}):
        same = {values: count for values, count in deep.items() if values.type == name and values.range}
        if len(same) > 1:
            return f"photos of one type declare different ranges of values ({describe_values(same)})"
    return None


def describe_values(counts: Mapping[ValueEncoding, int], most: int = 4) -> str:
    """Return the types and ranges with their numbers of photos, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], str(entry[0])))
    more = f"; {len(ordered) - most} more" if len(ordered) > most else ""
    return "; ".join(f"{values}: {count:,}" for values, count in ordered[:most]) + more


FILE_NOT_FOUND = "the file does not exist"
_ENCODING = sys.getfilesystemencoding()
_NOT_UNICODE = "its name is not valid Unicode" + (
    "" if _ENCODING == "utf-8" else f" in this locale ({_ENCODING}); set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
)
_VERIFY_BATCH = 16
# Draft decoding skips pixels, not bytes: a JPEG that lacks one byte of its picture (all but the two of the
# end marker) is still found out, at half the cost of decoding in full.
_DRAFT_SIDE = 1
_DEEP_FORMATS = frozenset({"tiff", "png", "ppm", "jpeg2000"})


class VerifiedFiles(NamedTuple):
    """The outcome of opening every file."""

    samples: list[Sample]
    """Those that decode, with their digests, in the order given."""
    unreadable: list[UnreadableFile]
    skipped: Counter[str]
    values: Counter[ValueEncoding]
    """How many of them hold values of which type and range."""


class _VerifiedFile(NamedTuple):
    """A photo that decodes."""

    sample: Sample
    values: ValueEncoding


_VerifyOutcome = _VerifiedFile | UnreadableFile | str


def verify(
    samples: Sequence[Sample], progress: Progress = no_progress, value_range: tuple[float, float] | None = None
) -> VerifiedFiles:
    """Open, hash and decode every sample on all cores; keep those that are whole photos.

    A file that is no image and does not claim to be one by its name is skipped; one that claims it, or is
    an image that cannot be decoded to the end, is unreadable.

    Args:
        samples: candidates; labels and splits are passed through.
        progress: told after every few files.
        value_range: the recipe's `preprocess.value_range`.
    """
    kept: list[Sample] = []
    unreadable: list[UnreadableFile] = []
    skipped: Counter[str] = Counter()
    values: Counter[ValueEncoding] = Counter()
    done = 0
    for outcomes in _verify_batches(samples, value_range):
        for outcome in outcomes:
            if isinstance(outcome, _VerifiedFile):
                kept.append(outcome.sample)
                values[outcome.values] += 1
            elif isinstance(outcome, UnreadableFile):
                unreadable.append(outcome)
            else:
                skipped[outcome] += 1
        done += len(outcomes)
        progress("Checking photos", done, len(samples))
    return VerifiedFiles(kept, unreadable, skipped, values)


def _verify_batches(
    samples: Sequence[Sample], value_range: tuple[float, float] | None
) -> Iterable[list[_VerifyOutcome]]:
    pool = ThreadPoolExecutor(max_workers=cpu_count(), thread_name_prefix="verify")
    try:
        pieces = [samples[start : start + _VERIFY_BATCH] for start in range(0, len(samples), _VERIFY_BATCH)]
        yield from pool.map(partial(_verify_all, value_range), pieces)
    finally:
        # After an error or Ctrl-C nothing that waits is begun any more.
        pool.shutdown(wait=True, cancel_futures=True)


def _verify_all(value_range: tuple[float, float] | None, samples: Sequence[Sample]) -> list[_VerifyOutcome]:
    return [_verify_one(sample, value_range) for sample in samples]


def _verify_one(sample: Sample, value_range: tuple[float, float] | None) -> _VerifyOutcome:
    data = read_image_file(sample)
    if not isinstance(data, bytes):
        return data
    try:
        decode(data, min_side=_DRAFT_SIDE, value_range=value_range)
        values = _image_values(data)
    except AssayError as error:
        return UnreadableFile(sample.id, sample.path, str(error))
    return _VerifiedFile(replace(sample, digest=hashlib.sha256(data).hexdigest()), values)


def _image_values(data: bytes) -> ValueEncoding:
    """Return type and range of a photo's values; formats that only have 8 bits need no second look."""
    if sniff(data[:HEAD_BYTES]) not in _DEEP_FORMATS:
        return UINT8
    found = inspect(data).values
    return ValueEncoding(found.type, found.range)


def read_image_file(sample: Sample) -> bytes | UnreadableFile | str:
    """Return a candidate's bytes, why they cannot be had, or why it is no photo and can be skipped."""
    if not _is_unicode(sample.id):
        return UnreadableFile(printable(sample.id), sample.path, _NOT_UNICODE)
    try:
        data = sample.read() if sample.tensor else _read_image(sample.path)
    except FileNotFoundError:
        return UnreadableFile(sample.id, sample.path, FILE_NOT_FOUND)
    except OSError as error:
        return UnreadableFile(sample.id, sample.path, error.strerror or str(error))
    except AssayError as error:
        return UnreadableFile(sample.id, sample.path, str(error))
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


_SCAN_BATCH = 32
_NO_THUMBNAIL = np.empty((0, 0), np.uint8)


class ScannedImage(NamedTuple):
    """A sample that can be read, and what was measured of it.

    Attributes:
        sample: with its digest.
        features: without the fine thumbnail, which stays in the store.
    """

    sample: Sample
    features: Features


class ScanResult(NamedTuple):
    """The outcome of the pass; samples in the order given."""

    photos: list[ScannedImage]
    unreadable: list[UnreadableFile]
    skipped: Counter[str]
    refused: Counter[ValueEncoding]
    """Types and ranges of photos that are unreadable only because of their values."""


class _RefusedValues(NamedTuple):
    """A photo whose values training refuses."""

    unreadable: UnreadableFile
    values: ValueEncoding


_ScanOutcome = ScannedImage | UnreadableFile | _RefusedValues | str


def scan_images(
    samples: Sequence[Sample],
    store: FeatureStore,
    progress: Progress = no_progress,
    value_range: ValueRange = "minmax",
) -> ScanResult:
    """Read every sample on all cores; measure those whose features are not kept, and keep them.

    Args:
        samples: candidates. A file that neither is an image nor claims to be one by its name is skipped.
        store: afterwards it holds the features of every photo.
        progress: told after every few files.
        value_range: the recipe's `preprocess.value_range`, so that photos which training refuses for their
            values are unreadable here too, and brightness is that of training; "minmax" takes them all.
    """
    photos: list[ScannedImage] = []
    unreadable: list[UnreadableFile] = []
    skipped: Counter[str] = Counter()
    refused: Counter[ValueEncoding] = Counter()
    done = 0
    for outcomes in _scan_batches(samples, store, value_range):
        for outcome in outcomes:
            if isinstance(outcome, ScannedImage):
                photos.append(outcome)
            elif isinstance(outcome, UnreadableFile):
                unreadable.append(outcome)
            elif isinstance(outcome, _RefusedValues):
                unreadable.append(outcome.unreadable)
                refused[outcome.values] += 1
            else:
                skipped[outcome] += 1
        done += len(outcomes)
        progress("Looking at photos", done, len(samples))
    store.touch((photo.features.digest for photo in photos), int(time.time()))
    return ScanResult(photos, unreadable, skipped, refused)


def _scan_batches(
    samples: Sequence[Sample], store: FeatureStore, value_range: ValueRange
) -> Iterator[list[_ScanOutcome]]:
    """Yield outcomes in order; only a few batches are ever under way, however many files there are."""
    workers = cpu_count()
    pieces = (samples[start : start + _SCAN_BATCH] for start in range(0, len(samples), _SCAN_BATCH))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="examine")

    def started(some: Iterable[Sequence[Sample]]) -> list[Future[list[_ScanOutcome]]]:
        return [pool.submit(_scan_all, piece, store, value_range) for piece in some]

    try:
        waiting = started(islice(pieces, 3 * workers))
        while waiting:
            yield waiting.pop(0).result()
            waiting += started(islice(pieces, 1))
    finally:
        # After an error or Ctrl-C nothing that waits is begun any more.
        pool.shutdown(wait=True, cancel_futures=True)


def _scan_all(samples: Sequence[Sample], store: FeatureStore, value_range: ValueRange) -> list[_ScanOutcome]:
    contents = [read_image_file(sample) for sample in samples]
    digests = [hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else "" for data in contents]
    known = store.get([digest for digest in digests if digest])
    outcomes: list[_ScanOutcome] = []
    fresh: dict[str, Features] = {}
    for sample, data, digest in zip(samples, contents, digests, strict=True):
        if not isinstance(data, bytes):
            outcomes.append(data)
            continue
        features = known.get(digest) or fresh.get(digest)
        try:
            if features is None:
                features = fresh[digest] = extract_features(data)
            if features.value_type != UINT8.type and value_range != "minmax":
                pixels = decode(data, value_range=value_range)
                # Kept features are the same for all recipes.
                if value_range is not None:
                    features = remeasure(features, pixels)
        except AssayError as error:
            unreadable = UnreadableFile(sample.id, sample.path, str(error))
            outcomes.append(unreadable if features is None else _RefusedValues(unreadable, features.values))
        else:
            outcomes.append(ScannedImage(replace(sample, digest=digest), replace(features, fine=_NO_THUMBNAIL)))
    store.put(list(fresh.values()))
    return outcomes
