"""Which pairs of photos are worth a closer look: nearest neighbours of small colour thumbnails.

Nothing is decided here. A descriptor is made of 8 x 8 colours, and every direction in which the photos of
*this* data set vary is given the same weight, so that what all products on a line share counts for little.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from assay.progress import Progress, silent

Array = np.ndarray

COARSE: Final = 16
"""Side of the colour thumbnails, in pixels."""

EXACT: Final = 10_000
"""Photos up to which every pair is compared."""

_GRID: Final = 8
_DIMENSIONS: Final = 64
_SHRINK: Final = 0.05
"""Share of the mean variance that is added to every direction before it is weighted."""
_FEW: Final = 10.0
"""The same for as many photos as dimensions; it falls with the square of their number."""
_SHIFT: Final = 0.025
"""How much the cropped views leave out at one of two opposite sides: half of what a crop may take."""
_BLOCK: Final = 2048
_SAMPLE: Final = 20_000
_CELL: Final = 400
_PROBES: Final = 8
_ROUNDS: Final = 5


class Candidates(NamedTuple):
    """Pairs of indices, each once and with the smaller index first.

    Attributes:
        pairs: int64 of shape [P, 2].
        cosines: float32 of shape [P]: likeness of the descriptors.
    """

    pairs: Array
    cosines: Array


def find_candidates(
    coarse: Array,
    *,
    mirrored: bool = False,
    neighbours: int = 10,
    floor: float = 0.6,
    progress: Progress = silent,
) -> Candidates:
    """Pair every photo with its nearest neighbours, allowing for a crop at one corner of either.

    Exact up to `EXACT` photos. Beyond, a photo is compared with those around the nearest cluster centres
    only, so that time and memory grow with the number of photos.

    Args:
        coarse: uint8 [N, 16, 16, 3], one colour thumbnail a photo.
        mirrored: compare every photo with the mirrored others instead.
        neighbours: how many are kept for each photo.
        floor: smallest cosine that makes a candidate.
        progress: told while photos are compared.
    """
    if len(coarse) < 2:
        return Candidates(np.empty((0, 2), np.int64), np.empty(0, np.float32))
    plain, crops = _descriptors(coarse, mirrored=mirrored)
    found = np.concatenate([*_neighbours(plain, crops, neighbours, floor, progress)])
    codes = _ordered(_best(found, neighbours))
    # One row for each pair, with its best cosine.
    order = np.lexsort((-codes["cosine"], codes["second"], codes["first"]))
    codes = codes[order]
    fresh = np.ones(len(codes), bool)
    fresh[1:] = (np.diff(codes["first"]) != 0) | (np.diff(codes["second"]) != 0)
    codes = codes[fresh]
    return Candidates(np.stack([codes["first"], codes["second"]], axis=1), codes["cosine"].copy())


_PAIR: Final = np.dtype([("first", np.int64), ("second", np.int64), ("cosine", np.float32)])


def _neighbours(
    plain: Array, crops: list[Array], count: int, floor: float, progress: Progress
) -> Iterator[Array]:
    n = len(plain)
    jobs = _everything(n) if n <= EXACT else _cells(plain)
    done, total = 0, n if n <= EXACT else n * _PROBES
    for rows, columns in jobs:
        found = [_compared(plain, crops, rows, some, floor) for some in columns]
        yield _best(np.concatenate(found), count)
        done += len(rows)
        progress("Comparing photos", done, total)


def _compared(plain: Array, crops: list[Array], rows: Array, columns: Array, floor: float) -> Array:
    """Return the pairs of a row and a column whose cosine, in the best view, is at least `floor`."""
    block = plain[rows]
    cosines = block @ crops[0][columns].T
    for crop in crops[1:]:
        # Either photo may be the one that was cropped; the other half comes when rows and columns swap.
        np.maximum(cosines, block @ crop[columns].T, out=cosines)
    # The two-dimensional form of nonzero takes as long as the products themselves.
    flat = np.flatnonzero(cosines >= floor)
    i, j = np.divmod(flat, len(columns))
    found = np.empty(len(flat), _PAIR)
    found["first"], found["second"], found["cosine"] = rows[i], columns[j], cosines.ravel()[flat]
    return np.asarray(found[found["first"] != found["second"]])


def _everything(n: int) -> Iterator[tuple[Array, list[Array]]]:
    blocks = [np.arange(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]
    return ((rows, blocks) for rows in blocks)


def _cells(plain: Array) -> Iterator[tuple[Array, list[Array]]]:
    """Compare each photo only with those around the few cluster centres nearest to it."""
    centres = _centres(plain, max(len(plain) // _CELL, 2))
    nearest = np.concatenate([_nearest(block, centres) for block in _blocks(plain)])
    home = np.argsort(nearest[:, 0], kind="stable")
    visitor, stop = np.divmod(np.argsort(nearest.ravel(), kind="stable"), nearest.shape[1])
    visited = nearest[visitor, stop]
    for cell in range(len(centres)):
        members = home[slice(*np.searchsorted(nearest[home, 0], (cell, cell + 1)))]
        rows = visitor[slice(*np.searchsorted(visited, (cell, cell + 1)))]
        for some in _blocks(rows):
            yield some, list(_blocks(members))


def _centres(plain: Array, count: int) -> Array:
    """Return unit cluster centres [count, D]: a few rounds of k-means on an evenly spread sample."""
    sample = plain[_spread(len(plain))]
    centres = sample[np.linspace(0, len(sample) - 1, count).astype(np.int64)]
    for _ in range(_ROUNDS):
        owner = np.concatenate([_nearest(block, centres, 1)[:, 0] for block in _blocks(sample)])
        sums = np.zeros_like(centres)
        np.add.at(sums, owner, sample)
        # A centre that lost all its photos stays where it was.
        sums = np.where(np.bincount(owner, minlength=count)[:, None] > 0, sums, centres)
        centres = sums / (np.linalg.norm(sums, axis=1, keepdims=True) + 1e-9)
    return np.asarray(centres)


def _nearest(block: Array, centres: Array, count: int = 0) -> Array:
    """Return the `count` (by default `_PROBES`) nearest centres of every row, nearest first."""
    cosines = block @ centres.T
    return np.argsort(-cosines, axis=1)[:, : count or _PROBES]


def _blocks(values: Array) -> Iterator[Array]:
    return (values[start : start + _BLOCK] for start in range(0, len(values), _BLOCK))


def _best(found: Array, count: int) -> Array:
    """Keep the `count` best pairs of every first index."""
    found = found[np.lexsort((-found["cosine"], found["first"]))]
    starts = np.searchsorted(found["first"], found["first"], side="left")
    return np.asarray(found[np.arange(len(found)) - starts < count])


def _ordered(found: Array) -> Array:
    first, second = found["first"].copy(), found["second"].copy()
    found["first"], found["second"] = np.minimum(first, second), np.maximum(first, second)
    return found


def _descriptors(coarse: Array, *, mirrored: bool) -> tuple[Array, list[Array]]:
    """Return unit descriptors [N, D] of the photos, and of five views of what they are compared with."""
    views = _views()
    project = _whitening(_standard(_seen(coarse[_spread(len(coarse))], views[0])))
    plain = _projected(coarse, views[0], project)
    others = coarse[:, :, ::-1] if mirrored else coarse
    first = _projected(others, views[0], project) if mirrored else plain
    return plain, [first, *(_projected(others, view, project) for view in views[1:])]


def _spread(n: int) -> Array:
    return np.linspace(0, n - 1, min(n, _SAMPLE)).round().astype(np.int64)


def _projected(coarse: Array, view: tuple[Array, Array], project: tuple[Array, Array]) -> Array:
    centre, matrix = project
    pieces = []
    for start in range(0, len(coarse), _BLOCK):
        piece = (_standard(_seen(coarse[start : start + _BLOCK], view)) - centre) @ matrix
        pieces.append(piece / (np.linalg.norm(piece, axis=1, keepdims=True) + 1e-9))
    return np.concatenate(pieces).astype(np.float32)


def _seen(coarse: Array, view: tuple[Array, Array]) -> Array:
    rows, columns = view
    return np.asarray(rows @ coarse.astype(np.float32).transpose(0, 3, 1, 2) @ columns.T).reshape(
        len(coarse), -1
    )


def _standard(values: Array) -> Array:
    centred = values - values.mean(1, keepdims=True)
    return np.asarray(centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-6))


def _whitening(values: Array) -> tuple[Array, Array]:
    """Return the mean [V] and a matrix [V, D] that gives all principal directions like weight."""
    centre = values.mean(0)
    variance, directions = np.linalg.eigh(np.cov(values - centre, rowvar=False, bias=True).astype(np.float64))
    variance, directions = variance[::-1][:_DIMENSIONS], directions[:, ::-1][:, :_DIMENSIONS]
    # Few photos span few directions: weighted alike, even copies would stand at right angles.
    shrink = _SHRINK + _FEW * (_DIMENSIONS / len(values)) ** 2
    scale = np.sqrt(variance.clip(0) + shrink * variance.mean() + 1e-12)
    return centre, np.asarray(directions / scale, np.float32)


def _views() -> list[tuple[Array, Array]]:
    """Return the whole photo and four crops, each as matrices over rows and columns: [8, 16] and [8, 16]."""
    ends = [(0.0, 1 - _SHIFT), (_SHIFT, 1.0)]
    whole = _averaging(0, 1)
    crops = [(_averaging(*rows), _averaging(*columns)) for rows in ends for columns in ends]
    return [(whole, whole), *crops]


def _averaging(start: float, stop: float) -> Array:
    edges = np.linspace(start, stop, _GRID + 1) * COARSE
    pixels = np.arange(COARSE)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    share = overlap.clip(0)
    return np.asarray(share / share.sum(1, keepdims=True), np.float32)
