"""Read, hash, decode and measure image files once each, on all cores."""

import hashlib
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError
from assay.core.files import open_file
from assay.core.printable_text import printable
from assay.core.progress import Progress, no_progress
from assay.data.dataset import FileContent, Sample, UnreadableFile
from assay.data.image_feature_cache import FeatureStore
from assay.data.image_features import Features, extract_features, remeasure
from assay.image import HEAD_BYTES, decode, inspect, sniff
from assay.image.ignore_rules import NOT_AN_IMAGE
from assay.image.image_files import IMAGE_SUFFIXES
from assay.image.pixel_conversion import UINT8, ValueEncoding, ValueRange

_T = TypeVar("_T")

VALUE_RANGE_ADVICE = "set preprocess.value_range to [black, white], which then holds for all of them"
CONVERT_ADVICE = "convert them to one type"


def value_range_conflict(counts: Mapping[ValueEncoding, int], value_range: tuple[float, float] | None) -> str | None:
    """Return how images of more than 8 bits would be scaled by different rules, or None.

    Types may be mixed, such as 8 and 16 bits: each type has its own range. Images of one type with different
    declared ranges may not, since equal values would look different. `value_range`, the recipe's
    `preprocess.value_range`, applies to all but 8-bit images.
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
    """Return types and ranges with their numbers of images, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], str(entry[0])))
    more = f"; {len(ordered) - most} more" if len(ordered) > most else ""
    return "; ".join(f"{values}: {count:,}" for values, count in ordered[:most]) + more


FILE_NOT_FOUND = "the file does not exist"
_ENCODING = sys.getfilesystemencoding()
_NOT_UNICODE = "its name is not valid Unicode" + (
    "" if _ENCODING == "utf-8" else f" in this locale ({_ENCODING}); set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
)
_BATCH = 32
# Draft decoding skips pixels, not bytes: a JPEG that lacks one byte of its picture (all but the two of the
# end marker) is still found out, at half the cost of decoding in full.
_DRAFT_SIDE = 1
_DEEP_FORMATS = frozenset({"tiff", "png", "ppm", "jpeg2000"})
_NO_THUMBNAIL = np.empty((0, 0), np.uint8)


class VerifiedFiles(NamedTuple):
    """Files that were opened and decoded."""

    samples: list[Sample]
    """Decodable images, with digest and format, in input order."""
    unreadable: list[UnreadableFile]
    skipped: Counter[str]
    """Number of non-image files, by reason."""
    values: Counter[ValueEncoding]
    """Number of images by type and range of values."""


class ScannedImage(NamedTuple):
    """A decodable image and its features, without the gray thumbnail, which stays in the feature store."""

    sample: Sample
    features: Features


class ScanResult(NamedTuple):
    """Result of `scan_images`; images in input order."""

    images: list[ScannedImage]
    unreadable: list[UnreadableFile]
    skipped: Counter[str]
    refused: Counter[ValueEncoding]
    """Types and ranges of the images that are unreadable only because of their values."""

    def verified(self) -> VerifiedFiles:
        """Return the result without the features."""
        values = Counter(image.features.values for image in self.images)
        return VerifiedFiles([image.sample for image in self.images], self.unreadable, self.skipped, values)


class _VerifiedFile(NamedTuple):
    sample: Sample
    values: ValueEncoding


class _RefusedValues(NamedTuple):
    """An image that decodes but has values that training refuses."""

    unreadable: UnreadableFile
    values: ValueEncoding


def verify(
    samples: Sequence[Sample], progress: Progress = no_progress, value_range: tuple[float, float] | None = None
) -> VerifiedFiles:
    """Read, hash and decode every file on all cores, without measuring features.

    A file that is not an image by content or name is skipped; one with an image's name or signature that cannot be
    decoded completely is unreadable. `value_range` is the recipe's `preprocess.value_range`.
    """
    result = VerifiedFiles([], [], Counter(), Counter())
    for outcome in _parallel(samples, partial(_verify_batch, value_range), progress):
        if isinstance(outcome, _VerifiedFile):
            result.samples.append(outcome.sample)
            result.values[outcome.values] += 1
        elif isinstance(outcome, UnreadableFile):
            result.unreadable.append(outcome)
        else:
            result.skipped[outcome] += 1
    return result


def scan_images(
    samples: Sequence[Sample],
    store: FeatureStore,
    progress: Progress = no_progress,
    value_range: ValueRange = "minmax",
    *,
    digests: Mapping[str, str] | None = None,
    keep_bytes: int = 0,
) -> ScanResult:
    """Read every file once on all cores: hash and decode it, and measure its features unless they are stored.

    Args:
        samples: candidates. A file that is not an image by content or name is skipped.
        store: contains the features of every image afterwards.
        progress: called after every few files.
        value_range: the recipe's `preprocess.value_range`: images that training refuses for their values are
            unreadable, and brightness is measured as in training. "minmax" accepts every range.
        digests: SHA-256 by sample id of files that this run has already read; they are not read again if their
            features are stored.
        keep_bytes: maximum bytes of files to keep in memory as `Sample.content`.
    """
    result = ScanResult([], [], Counter(), Counter())
    work = partial(_scan_batch, store, value_range, digests or {}, _MemoryBudget(keep_bytes))
    for outcome in _parallel(samples, work, progress):
        if isinstance(outcome, ScannedImage):
            result.images.append(outcome)
        elif isinstance(outcome, UnreadableFile):
            result.unreadable.append(outcome)
        elif isinstance(outcome, _RefusedValues):
            result.unreadable.append(outcome.unreadable)
            result.refused[outcome.values] += 1
        else:
            result.skipped[outcome] += 1
    store.touch((image.features.digest for image in result.images), int(time.time()))
    return result


def _parallel(
    samples: Sequence[Sample], work: Callable[[Sequence[Sample]], list[_T]], progress: Progress
) -> Iterator[_T]:
    """Yield results in the order of the samples, with only a few batches pending.

    Threads suffice because reading, hashing and decoding release the GIL.
    """
    workers = cpu_count()
    batches = (samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="scan")
    done = 0
    try:
        pending = deque(pool.submit(work, batch) for batch in islice(batches, 3 * workers))
        while pending:
            outcomes = pending.popleft().result()
            pending.extend(pool.submit(work, batch) for batch in islice(batches, 1))
            yield from outcomes
            done += len(outcomes)
            progress("Reading photos", done, len(samples))
    finally:
        # After an error or Ctrl-C no pending batch is started.
        pool.shutdown(wait=True, cancel_futures=True)


def _verify_batch(
    value_range: tuple[float, float] | None, samples: Sequence[Sample]
) -> list[_VerifiedFile | UnreadableFile | str]:
    return [_verify_one(sample, value_range) for sample in samples]


def _verify_one(sample: Sample, value_range: tuple[float, float] | None) -> _VerifiedFile | UnreadableFile | str:
    data = read_image_file(sample)
    if not isinstance(data, bytes):
        return data
    try:
        decode(data, min_side=_DRAFT_SIDE, value_range=value_range)
        values = _image_values(data)
    except AssayError as error:
        return UnreadableFile(sample.id, sample.path, str(error))
    digest = hashlib.sha256(data).hexdigest()
    kind = None if sample.tensor else sniff(data[:HEAD_BYTES])
    return _VerifiedFile(replace(sample, digest=digest, format=kind), values)


def _scan_batch(
    store: FeatureStore,
    value_range: ValueRange,
    digests: Mapping[str, str],
    budget: "_MemoryBudget",
    samples: Sequence[Sample],
) -> list[ScannedImage | UnreadableFile | _RefusedValues | str]:
    stored = store.get([digests[sample.id] for sample in samples if sample.id in digests])
    contents = [
        features
        if (features := stored.get(digests.get(sample.id, ""))) and _is_known(features, value_range)
        else read_image_file(sample)
        for sample in samples
    ]
    hashes = [hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else "" for data in contents]
    stored |= store.get([digest for digest in hashes if digest])
    outcomes: list[ScannedImage | UnreadableFile | _RefusedValues | str] = []
    new: dict[str, Features] = {}
    for sample, data, digest in zip(samples, contents, hashes, strict=True):
        if isinstance(data, Features):
            outcomes.append(_scanned(sample, data))
            continue
        if not isinstance(data, bytes):
            outcomes.append(data)
            continue
        features = stored.get(digest) or new.get(digest)
        try:
            if features is None:
                features = new[digest] = extract_features(data)
            if not _is_known(features, value_range):
                features = remeasure(features, decode(data, value_range=value_range))
            elif features.value_type != UINT8.type and value_range is None:
                decode(data)
        except AssayError as error:
            unreadable = UnreadableFile(sample.id, sample.path, str(error))
            outcomes.append(unreadable if features is None else _RefusedValues(unreadable, features.values))
        else:
            kept = FileContent(data) if budget.take(len(data)) else None
            outcomes.append(_scanned(replace(sample, content=kept), features))
    store.put(list(new.values()))
    return outcomes


class _MemoryBudget:
    """Remaining bytes that may be kept, shared by threads."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True


def _is_known(features: Features, value_range: ValueRange) -> bool:
    """Whether stored features, which are independent of the recipe, are valid for this value range."""
    return features.value_type == UINT8.type or not isinstance(value_range, tuple)


def _scanned(sample: Sample, features: Features) -> ScannedImage:
    found = replace(sample, digest=features.digest, format=None if sample.tensor else features.format)
    return ScannedImage(found, replace(features, gray_thumbnail=_NO_THUMBNAIL))


def _image_values(data: bytes) -> ValueEncoding:
    """Return type and range of an image's values; formats with only 8 bits are not inspected."""
    if sniff(data[:HEAD_BYTES]) not in _DEEP_FORMATS:
        return UINT8
    found = inspect(data).values
    return ValueEncoding(found.type, found.range)


def read_image_file(sample: Sample) -> bytes | UnreadableFile | str:
    """Return a candidate's bytes, why it cannot be read, or why it is not an image and is skipped."""
    if not _is_unicode(sample.id):
        return UnreadableFile(printable(sample.id), sample.path, _NOT_UNICODE)
    try:
        data = _read_image(sample.path) if sample.is_file else sample.read()
    except FileNotFoundError:
        return UnreadableFile(sample.id, sample.path, FILE_NOT_FOUND)
    except OSError as error:
        return UnreadableFile(sample.id, sample.path, error.strerror or str(error))
    except AssayError as error:
        return UnreadableFile(sample.id, sample.path, str(error))
    return NOT_AN_IMAGE if data is None else data


def _read_image(path: Path) -> bytes | None:
    """Return the file's bytes, or None if neither content nor name is an image's.

    Files without an image's signature, such as videos, are not read completely.
    """
    with open_file(path) as stream:
        head = stream.read(HEAD_BYTES)
        if sniff(head):
            return head + stream.read()
        return head if path.suffix.casefold() in IMAGE_SUFFIXES else None


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
