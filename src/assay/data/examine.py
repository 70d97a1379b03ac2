"""One pass over the files of a data set: each is read once, and decoded unless its features are known.

Knows nothing of what the features are for. Files and decoders release Python's lock, so threads suffice.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np

from assay.data.feature_store import FeatureStore
from assay.data.features import Features, extract, measured_again
from assay.data.samples import Sample, Unreadable
from assay.data.verify import cores, opened
from assay.errors import AssayError
from assay.image import decode
from assay.image.values import UINT8, ValueRange, Values
from assay.progress import Progress, silent

_BATCH = 32
_NOTHING = np.empty((0, 0), np.uint8)


class Photo(NamedTuple):
    """A sample that can be read, and what was measured of it.

    Attributes:
        sample: with its digest.
        features: without the fine thumbnail, which stays in the store.
    """

    sample: Sample
    features: Features


class Examined(NamedTuple):
    """The outcome of the pass; samples in the order given."""

    photos: list[Photo]
    unreadable: list[Unreadable]
    skipped: Counter[str]
    refused: Counter[Values]
    """Types and ranges of photos that are unreadable only because of their values."""


class _Refused(NamedTuple):
    """A photo whose values training refuses."""

    unreadable: Unreadable
    values: Values


_Outcome = Photo | Unreadable | _Refused | str


def examine(
    samples: Sequence[Sample],
    store: FeatureStore,
    progress: Progress = silent,
    value_range: ValueRange = "stretch",
) -> Examined:
    """Read every sample on all cores; measure those whose features are not kept, and keep them.

    Args:
        samples: candidates. A file that neither is an image nor claims to be one by its name is skipped.
        store: afterwards it holds the features of every photo.
        progress: told after every few files.
        value_range: the recipe's `preprocess.value_range`, so that photos which training refuses for their
            values are unreadable here too, and brightness is that of training; "stretch" takes them all.
    """
    photos: list[Photo] = []
    unreadable: list[Unreadable] = []
    skipped: Counter[str] = Counter()
    refused: Counter[Values] = Counter()
    done = 0
    for outcomes in _batches(samples, store, value_range):
        for outcome in outcomes:
            if isinstance(outcome, Photo):
                photos.append(outcome)
            elif isinstance(outcome, Unreadable):
                unreadable.append(outcome)
            elif isinstance(outcome, _Refused):
                unreadable.append(outcome.unreadable)
                refused[outcome.values] += 1
            else:
                skipped[outcome] += 1
        done += len(outcomes)
        progress("Looking at photos", done, len(samples))
    store.touch((photo.features.digest for photo in photos), int(time.time()))
    return Examined(photos, unreadable, skipped, refused)


def _batches(
    samples: Sequence[Sample], store: FeatureStore, value_range: ValueRange
) -> Iterator[list[_Outcome]]:
    """Yield outcomes in order; only a few batches are ever under way, however many files there are."""
    workers = cores()
    pieces = (samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="examine")

    def started(some: Iterable[Sequence[Sample]]) -> list[Future[list[_Outcome]]]:
        return [pool.submit(_examine_all, piece, store, value_range) for piece in some]

    try:
        waiting = started(islice(pieces, 3 * workers))
        while waiting:
            yield waiting.pop(0).result()
            waiting += started(islice(pieces, 1))
    finally:
        # After an error or Ctrl-C nothing that waits is begun any more.
        pool.shutdown(wait=True, cancel_futures=True)


def _examine_all(samples: Sequence[Sample], store: FeatureStore, value_range: ValueRange) -> list[_Outcome]:
    contents = [opened(sample) for sample in samples]
    digests = [hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else "" for data in contents]
    known = store.get([digest for digest in digests if digest])
    outcomes: list[_Outcome] = []
    fresh: dict[str, Features] = {}
    for sample, data, digest in zip(samples, contents, digests, strict=True):
        if not isinstance(data, bytes):
            outcomes.append(data)
            continue
        features = known.get(digest) or fresh.get(digest)
        try:
            if features is None:
                features = fresh[digest] = extract(data)
            if features.value_type != UINT8.type and value_range != "stretch":
                pixels = decode(data, value_range=value_range)
                # Kept features are the same for all recipes.
                if value_range is not None:
                    features = measured_again(features, pixels)
        except AssayError as error:
            unreadable = Unreadable(sample.id, sample.path, str(error))
            outcomes.append(unreadable if features is None else _Refused(unreadable, features.values))
        else:
            outcomes.append(Photo(replace(sample, digest=digest), replace(features, fine=_NOTHING)))
    store.put(list(fresh.values()))
    return outcomes
