"""Photos that show the same picture: identical bytes, copies that were changed a little, and bursts.

Likeness is judged pair by pair (`candidates` proposes, `registration` decides); groups are what pairs link.
Knows nothing of splits.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from assay.data.bursts import burst_pairs
from assay.data.candidates import find_candidates
from assay.data.examine import Photo, examine
from assay.data.feature_store import FeatureStore, open_store
from assay.data.registration import FINE, SMALL, halved, likeness
from assay.data.samples import Sample
from assay.progress import Progress, silent

Array = np.ndarray

THRESHOLDS: Final = {FINE: 3.2, SMALL: 2.2}
"""Likeness from which two photos count as one, by the side of the thumbnails they are compared on."""
LEAST_DETAIL: Final = 0.7
"""Photos with less detail (skies, gradients, blank ones) are all alike and not compared."""
LARGEST_SHARE: Final = 0.01
"""Share of the data beyond which a group is not believed at first sight."""
LARGEST_GROUP: Final = 20
"""Size up to which a group is always believed."""

_METHOD: Final = 1
"""Raise it when the same features come to give other links: kept ones are then not used any more."""
_STEP: Final = 0.4
_STRICTEST: Final = 6.0
_PAIRS: Final = 32


class Kind(StrEnum):
    """Why two photos are linked."""

    identical = "identical"
    near = "near"
    burst = "burst"


class Link(NamedTuple):
    """Two photos that belong together.

    Attributes:
        first: its place in the order the photos were given in.
        second: place of the other.
        kind: why.
        likeness: as `registration.likeness`; infinite for identical bytes.
    """

    first: int
    second: int
    kind: Kind
    likeness: float


@dataclass(frozen=True, slots=True)
class Tightened:
    """Likeness had linked too large a part of the data, so more of it was asked for there."""

    kind: Kind
    largest: int
    """Photos in the largest group before."""
    now: int
    """Photos in the largest group after."""
    asked: float
    """Likeness asked for at last, within the groups that were too large."""
    dropped: tuple[Link, ...]
    """Links given up, the most alike first."""


@dataclass(frozen=True, slots=True)
class Alike:
    """All that was found to belong together."""

    links: tuple[Link, ...]
    tightened: tuple[Tightened, ...] = ()

    def groups(self, *kinds: Kind) -> list[tuple[int, ...]]:
        """Return the groups that links of these kinds (all when none is named) form, largest first."""
        return components((link.first, link.second) for link in self.links if not kinds or link.kind in kinds)


def near_duplicate_groups(
    samples: Sequence[Sample],
    *,
    mirrored: bool = False,
    bursts: bool = True,
    cache: Path | None = None,
    progress: Progress = silent,
) -> list[frozenset[str]]:
    """Return the ids of photos that must not straddle a split, group by group; see `groups.join_groups`.

    Args:
        samples: readable photos; those that cannot be read are in no group.
        mirrored: take mirrored copies for copies too.
        bursts: link photos taken within moments that look alike, too.
        cache: folder where features are kept; the usual one when None.
        progress: told while files are opened and compared.

    Returns:
        Groups of two or more ids, largest first. Photos are linked through others, so two members of a group
        may differ more than any linked pair does.
    """
    with open_store(cache) as store:
        photos = examine(samples, store, progress).photos
        alike = find_alike(photos, store, mirrored=mirrored, bursts=bursts, progress=progress)
    return [frozenset(photos[place].sample.id for place in group) for group in alike.groups()]


def find_alike(
    photos: Sequence[Photo],
    store: FeatureStore,
    *,
    mirrored: bool = False,
    bursts: bool = True,
    largest_share: float = LARGEST_SHARE,
    progress: Progress = silent,
) -> Alike:
    """Link photos that are identical, nearly so, or neighbours in a burst.

    Args:
        photos: as `examine` returns them.
        store: the one that `examine` filled.
        mirrored: compare with mirrored photos as well.
        bursts: look for bursts.
        largest_share: share of the photos, 0-1, beyond which a group (of more than `LARGEST_GROUP`) is only
            believed at a higher likeness.
        progress: told while photos are compared.
    """
    identical = _identical(photos)
    limit = max(LARGEST_GROUP, int(largest_share * len(photos)))
    near = _near(photos, store, mirrored=mirrored, progress=progress)
    near, tightened = _tighten(near, limit, _STRICTEST)
    found = [tightened] if tightened else []
    quick: list[Link] = []
    if bursts:
        pairs = burst_pairs(photos)
        quick = _links(pairs, _scores(pairs, photos, store, mirrored=False), Kind.burst)
        quick, tightened = _tighten(quick, limit, THRESHOLDS[FINE])
        found += [tightened] if tightened else []
    return Alike((*identical, *near, *quick), tuple(found))


def components(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Return the connected components of a graph, members ascending, largest first."""
    parent: dict[int, int] = {}

    def root(place: int) -> int:
        parent.setdefault(place, place)
        while parent[place] != place:
            parent[place] = place = parent[parent[place]]
        return place

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    members: dict[int, list[int]] = defaultdict(list)
    for place in sorted(parent):
        members[root(place)].append(place)
    return sorted((tuple(group) for group in members.values()), key=lambda group: (-len(group), group))


def _identical(photos: Sequence[Photo]) -> list[Link]:
    first: dict[str, int] = {}
    links = []
    for place, photo in enumerate(photos):
        earlier = first.setdefault(photo.features.digest, place)
        if earlier != place:
            links.append(Link(earlier, place, Kind.identical, float("inf")))
    return links


def _near(photos: Sequence[Photo], store: FeatureStore, *, mirrored: bool, progress: Progress) -> list[Link]:
    # One photo of each content, and none that shows too little to be told from others.
    place = {photo.features.digest: index for index, photo in reversed(list(enumerate(photos)))}
    chosen = sorted(index for index in place.values() if photos[index].features.detail >= LEAST_DETAIL)
    if len(chosen) < 2:
        return []
    digests = [photos[index].features.digest for index in chosen]
    settings = [_METHOD, mirrored, LEAST_DETAIL, *THRESHOLDS.items()]
    key = hashlib.sha256(json.dumps([settings, sorted(digests)]).encode()).hexdigest()
    if (kept := store.recall(key)) is not None:
        return sorted(_placed(first, second, score, place) for first, second, score in json.loads(kept))
    coarse = np.stack([photos[index].features.coarse for index in chosen])
    links: list[Link] = []
    for flipped in (False, True) if mirrored else (False,):
        pairs = np.array(chosen)[find_candidates(coarse, mirrored=flipped, progress=progress).pairs]
        scores = _scores(pairs, photos, store, mirrored=flipped, progress=progress)
        enough = scores >= np.array([THRESHOLDS[_side(photos, pair)] for pair in pairs])
        links += _links(pairs[enough], scores[enough], Kind.near)
    named = [(photos[a].features.digest, photos[b].features.digest, score) for a, b, _, score in links]
    store.remember(key, json.dumps(named))
    return sorted(links)


def _placed(first: str, second: str, score: float, place: Mapping[str, int]) -> Link:
    low, high = sorted((place[first], place[second]))
    return Link(low, high, Kind.near, score)


def _links(pairs: Array, scores: Array, kind: Kind) -> list[Link]:
    return [Link(int(a), int(b), kind, float(score)) for (a, b), score in zip(pairs, scores, strict=True)]


def _side(photos: Sequence[Photo], pair: Array) -> int:
    """Return the side that a pair is compared on: the smaller of the two."""
    sizes = (min(photos[place].features.width, photos[place].features.height) for place in pair)
    return FINE if min(sizes) >= FINE else SMALL


def _scores(
    pairs: Array,
    photos: Sequence[Photo],
    store: FeatureStore,
    *,
    mirrored: bool,
    progress: Progress = silent,
) -> Array:
    """Return the likeness of every pair, float32 of shape [P]."""
    scores = np.empty(len(pairs), np.float32)
    sides = np.array([_side(photos, pair) for pair in pairs])
    done = 0
    for side in (SMALL, FINE):
        places = np.flatnonzero(sides == side)
        for start in range(0, len(places), _PAIRS):
            some = places[start : start + _PAIRS]
            first, second = (
                _thumbnails(store, [photos[place].features.digest for place in column], side)
                for column in pairs[some].T
            )
            scores[some] = likeness(first, second[:, :, ::-1] if mirrored else second)
            done += len(some)
            progress("Verifying likeness", done, len(pairs))
    return scores


def _thumbnails(store: FeatureStore, digests: Sequence[str], side: int) -> Array:
    images = [image.astype(np.float32) for image in store.fine(digests)]
    return np.stack([image if len(image) == side else halved(image[None])[0] for image in images])


def _tighten(links: list[Link], limit: int, strictest: float) -> tuple[list[Link], Tightened | None]:
    """Ask for more likeness within groups of more than `limit` photos until there is none."""
    groups = components((link.first, link.second) for link in links)
    if not groups or len(groups[0]) <= limit:
        return links, None
    kind, before = links[0].kind, len(groups[0])
    kept, dropped = links, list[Link]()
    asked = min(link.likeness for link in links)
    while len(groups[0]) > limit and asked < strictest:
        asked = min(max(asked, 0.0) + _STEP, strictest)
        suspect = {place for group in groups if len(group) > limit for place in group}
        weak = [link for link in kept if link.first in suspect and link.likeness < asked]
        dropped += weak
        gone = set(weak)
        kept = [link for link in kept if link not in gone]
        groups = components((link.first, link.second) for link in kept) or [()]
    dropped.sort(key=lambda link: -link.likeness)
    return kept, Tightened(kind, before, len(groups[0]), asked, tuple(dropped))
