"""Find images that show the same picture: identical files, near-duplicates and bursts."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from assay.core.progress import Progress, no_progress
from assay.data.capture_time import filename_time, parse_frame
from assay.data.groups import connected_groups
from assay.data.image_feature_cache import FeatureStore
from assay.data.image_scan import ScannedImage
from assay.data.image_similarity import SMALL_THUMBNAIL_SIDE, THUMBNAIL_SIDE, halve, similarity
from assay.data.near_duplicate_candidates import find_candidates

BURST_WINDOW_SECONDS: Final = 2.0
"""Maximum seconds between two images of a burst."""
BURST_FRAMES: Final = 5
"""Maximum difference of frame numbers in a burst."""
BURST_MIN_CORRELATION: Final = 0.6
"""Minimum correlation of the colour thumbnails in a burst."""

_COMPARED_SUCCESSORS: Final = 8
"""Number of following images that each is compared with, to avoid quadratic time in dense bursts."""


def find_burst_pairs(
    photos: Sequence[ScannedImage], *, window: float = BURST_WINDOW_SECONDS, frames: int = BURST_FRAMES
) -> np.ndarray:
    """Return pairs of similar images taken within moments of each other, int64 [P, 2].

    Times come from Exif, otherwise from file names; frame numbers only from names of video frames. Images of
    different folders can belong to one burst if both have a time, since they may have been sorted by label. `window`
    is in seconds; `frames` is the largest difference of frame numbers within one video.
    """
    near = {(min(pair), max(pair)) for pair in _close_in_time(photos, window, frames)}
    alike = [
        pair
        for pair in sorted(near)
        if thumbnail_correlation(photos[pair[0]], photos[pair[1]]) >= BURST_MIN_CORRELATION
    ]
    return np.array(alike, np.int64).reshape(-1, 2)


def thumbnail_correlation(first: ScannedImage, second: ScannedImage) -> float:
    """Return the correlation of two images' colour thumbnails, -1 to 1; 0 if one is blank."""
    a, b = (photo.features.colour_thumbnail.astype(np.float64).ravel() for photo in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale > 0 else 0.0


def _close_in_time(photos: Sequence[ScannedImage], window: float, frames: int) -> Iterator[tuple[int, int]]:
    clocks: dict[str, list[tuple[float, int]]] = defaultdict(list)
    films: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for place, photo in enumerate(photos):
        named = filename_time(photo.sample.id)
        if photo.features.capture_time is not None:
            clocks["exif"].append((photo.features.capture_time, place))
        # A name is often more precise than Exif, which has whole seconds; times are compared by source.
        if named is not None:
            clocks["name"].append((named, place))
        elif frame := parse_frame(photo.sample.id):
            films[frame.sequence].append((frame.number, place))
    for moments in clocks.values():
        yield from _within(sorted(moments), window)
    for moments in films.values():
        yield from _within(sorted(moments), frames)


def _within(moments: list[tuple[float, int]], most: float) -> Iterator[tuple[int, int]]:
    for reach in range(1, min(_COMPARED_SUCCESSORS, len(moments) - 1) + 1):
        for (earlier, first), (later, second) in zip(moments, moments[reach:], strict=False):
            if later - earlier <= most:
                yield first, second


Array = np.ndarray

SIMILARITY_THRESHOLDS: Final = {THUMBNAIL_SIDE: 3.2, SMALL_THUMBNAIL_SIDE: 2.2}
"""Minimum similarity of near-duplicates, by the side of the thumbnails compared."""
MIN_DETAIL: Final = 0.7
"""Images with less detail (skies, gradients, blank ones) all look alike and are not compared."""
MAX_GROUP_SHARE: Final = 0.01
"""Share of the data above which a group needs a higher similarity."""
MAX_TRUSTED_GROUP: Final = 20
"""Size up to which a group is always accepted."""

_METHOD_VERSION: Final = 1
"""Increment it when the same features give different links, to invalidate stored ones."""
_THRESHOLD_STEP: Final = 0.4
_MAX_THRESHOLD: Final = 6.0
_PAIR_BATCH: Final = 32


class LinkKind(StrEnum):
    """Reason why two images are linked."""

    identical = "identical"
    near = "near"
    burst = "burst"


class DuplicateLink(NamedTuple):
    """Two images that belong together, as indices into the input.

    `similarity` is that of `image_similarity.similarity`; infinite for identical bytes.
    """

    first: int
    second: int
    kind: LinkKind
    similarity: float


@dataclass(frozen=True, slots=True)
class ThresholdAdjustment:
    """The similarity threshold was raised because too large a share of the data was linked."""

    kind: LinkKind
    largest_before: int
    """Number of images in the largest group before."""
    largest_after: int
    """Number of images in the largest group after."""
    threshold: float
    """Final similarity threshold within the groups that were too large."""
    dropped: tuple[DuplicateLink, ...]
    """Removed links, most similar first."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Links between identical, similar and burst images."""

    links: tuple[DuplicateLink, ...]
    adjustments: tuple[ThresholdAdjustment, ...] = ()

    def groups(self, *kinds: LinkKind) -> list[tuple[int, ...]]:
        """Return the groups formed by links of these kinds (all if none is given), largest first."""
        return connected_groups((link.first, link.second) for link in self.links if not kinds or link.kind in kinds)

    def id_groups(self, images: Sequence[ScannedImage]) -> list[frozenset[str]]:
        """Return the groups as sets of sample ids; `images` are those that were compared."""
        return [frozenset(images[place].sample.id for place in group) for group in self.groups()]


def find_near_duplicates(
    photos: Sequence[ScannedImage],
    store: FeatureStore,
    *,
    mirrored: bool = False,
    bursts: bool = True,
    max_group_share: float = MAX_GROUP_SHARE,
    progress: Progress = no_progress,
) -> NearDuplicates:
    """Link images that are identical, nearly identical or neighbours in a burst.

    Args:
        photos: result of `scan_images`.
        store: the store that `scan_images` filled.
        mirrored: compare with mirrored images as well.
        bursts: look for bursts.
        max_group_share: share of the images, 0-1, above which a group (of more than `MAX_TRUSTED_GROUP`) needs a
            higher similarity.
        progress: called with the step, the number done and the total.
    """
    identical = _identical_links(photos)
    limit = max(MAX_TRUSTED_GROUP, int(max_group_share * len(photos)))
    near = _near_duplicate_links(photos, store, mirrored=mirrored, progress=progress)
    near, tightened = _raise_threshold(near, limit, _MAX_THRESHOLD)
    found = [tightened] if tightened else []
    quick: list[DuplicateLink] = []
    if bursts:
        pairs = find_burst_pairs(photos)
        quick = _to_links(pairs, _similarities(pairs, photos, store, mirrored=False), LinkKind.burst)
        quick, tightened = _raise_threshold(quick, limit, SIMILARITY_THRESHOLDS[THUMBNAIL_SIDE])
        found += [tightened] if tightened else []
    return NearDuplicates((*identical, *near, *quick), tuple(found))


def _identical_links(photos: Sequence[ScannedImage]) -> list[DuplicateLink]:
    first: dict[str, int] = {}
    links = []
    for place, photo in enumerate(photos):
        earlier = first.setdefault(photo.features.digest, place)
        if earlier != place:
            links.append(DuplicateLink(earlier, place, LinkKind.identical, float("inf")))
    return links


def _near_duplicate_links(
    photos: Sequence[ScannedImage], store: FeatureStore, *, mirrored: bool, progress: Progress
) -> list[DuplicateLink]:
    # One photo per content, without those that have too little detail.
    place = {photo.features.digest: index for index, photo in reversed(list(enumerate(photos)))}
    chosen = sorted(index for index in place.values() if photos[index].features.detail >= MIN_DETAIL)
    if len(chosen) < 2:
        return []
    digests = [photos[index].features.digest for index in chosen]
    settings = [_METHOD_VERSION, mirrored, MIN_DETAIL, *SIMILARITY_THRESHOLDS.items()]
    key = hashlib.sha256(json.dumps([settings, sorted(digests)]).encode()).hexdigest()
    if (kept := store.get_result(key)) is not None:
        return sorted(_to_link(first, second, score, place) for first, second, score in json.loads(kept))
    thumbnails = np.stack([photos[index].features.colour_thumbnail for index in chosen])
    links: list[DuplicateLink] = []
    for flipped in (False, True) if mirrored else (False,):
        pairs = np.array(chosen)[find_candidates(thumbnails, mirrored=flipped, progress=progress).pairs]
        scores = _similarities(pairs, photos, store, mirrored=flipped, progress=progress)
        enough = scores >= np.array([SIMILARITY_THRESHOLDS[_comparison_side(photos, pair)] for pair in pairs])
        links += _to_links(pairs[enough], scores[enough], LinkKind.near)
    named = [(photos[a].features.digest, photos[b].features.digest, score) for a, b, _, score in links]
    store.put_result(key, json.dumps(named))
    return sorted(links)


def _to_link(first: str, second: str, score: float, place: Mapping[str, int]) -> DuplicateLink:
    low, high = sorted((place[first], place[second]))
    return DuplicateLink(low, high, LinkKind.near, score)


def _to_links(pairs: Array, scores: Array, kind: LinkKind) -> list[DuplicateLink]:
    return [DuplicateLink(int(a), int(b), kind, float(score)) for (a, b), score in zip(pairs, scores, strict=True)]


def _comparison_side(photos: Sequence[ScannedImage], pair: Array) -> int:
    """Return the thumbnail side for a pair: the smaller of the two."""
    sizes = (min(photos[place].features.width, photos[place].features.height) for place in pair)
    return THUMBNAIL_SIDE if min(sizes) >= THUMBNAIL_SIDE else SMALL_THUMBNAIL_SIDE


def _similarities(
    pairs: Array,
    photos: Sequence[ScannedImage],
    store: FeatureStore,
    *,
    mirrored: bool,
    progress: Progress = no_progress,
) -> Array:
    """Return the similarity of every pair, float32 of shape [P]."""
    scores = np.empty(len(pairs), np.float32)
    sides = np.array([_comparison_side(photos, pair) for pair in pairs])
    done = 0
    for side in (SMALL_THUMBNAIL_SIDE, THUMBNAIL_SIDE):
        places = np.flatnonzero(sides == side)
        for start in range(0, len(places), _PAIR_BATCH):
            batch = places[start : start + _PAIR_BATCH]
            first, second = (
                _thumbnails(store, [photos[place].features.digest for place in column], side)
                for column in pairs[batch].T
            )
            scores[batch] = similarity(first, second[:, :, ::-1] if mirrored else second)
            done += len(batch)
            progress("Verifying similarity", done, len(pairs))
    return scores


def _thumbnails(store: FeatureStore, digests: Sequence[str], side: int) -> Array:
    images = [image.astype(np.float32) for image in store.gray_thumbnails(digests)]
    return np.stack([image if len(image) == side else halve(image[None])[0] for image in images])


def _raise_threshold(
    links: list[DuplicateLink], limit: int, strictest: float
) -> tuple[list[DuplicateLink], ThresholdAdjustment | None]:
    """Raise the threshold within groups of more than `limit` images until none is left."""
    groups = connected_groups((link.first, link.second) for link in links)
    if not groups or len(groups[0]) <= limit:
        return links, None
    kind, before = links[0].kind, len(groups[0])
    kept, dropped = links, list[DuplicateLink]()
    threshold = min(link.similarity for link in links)
    while len(groups[0]) > limit and threshold < strictest:
        threshold = min(max(threshold, 0.0) + _THRESHOLD_STEP, strictest)
        suspect = {place for group in groups if len(group) > limit for place in group}
        weak = [link for link in kept if link.first in suspect and link.similarity < threshold]
        dropped += weak
        gone = set(weak)
        kept = [link for link in kept if link not in gone]
        groups = connected_groups((link.first, link.second) for link in kept) or [()]
    dropped.sort(key=lambda link: -link.similarity)
    return kept, ThresholdAdjustment(kind, before, len(groups[0]), threshold, tuple(dropped))
