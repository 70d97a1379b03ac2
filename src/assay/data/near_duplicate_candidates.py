"""Nearest-neighbour search over small colour thumbnails, to find pairs of images to compare in detail."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from assay.core.progress import Progress, no_progress

Array = np.ndarray

COLOUR_THUMBNAIL_SIDE: Final = 16
"""Side of the colour thumbnails, in pixels."""

EXACT_SEARCH_LIMIT: Final = 10_000
"""Maximum number of images for which all pairs are compared."""

_DESCRIPTOR_SIDE: Final = 8
_DIMENSIONS: Final = 64
_SHRINKAGE: Final = 0.05
"""Share of the mean variance that is added to every direction before weighting."""
_SMALL_SAMPLE_SHRINKAGE: Final = 10.0
"""The same if there are as many images as dimensions; it decreases with the square of their number."""
_CROP_SHIFT: Final = 0.025
"""Share that the cropped views remove at one of two opposite sides: half of the largest crop."""
_BLOCK_ROWS: Final = 2048
_FIT_SAMPLE: Final = 20_000
_CLUSTER_SIZE: Final = 400
_PROBED_CLUSTERS: Final = 8
_KMEANS_ITERATIONS: Final = 5


class Candidates(NamedTuple):
    """Pairs of indices, int64 [P, 2], unique, smaller index first, and cosines of their descriptors, float32 [P]."""

    pairs: Array
    cosines: Array


def find_candidates(
    thumbnails: Array,
    *,
    mirrored: bool = False,
    neighbours: int = 10,
    floor: float = 0.6,
    progress: Progress = no_progress,
) -> Candidates:
    """Pair every image with its nearest neighbours, allowing for a crop at one corner of either.

    Exact up to `EXACT_SEARCH_LIMIT` images. Above that, an image is compared only with those around the nearest
    cluster centres, so that memory grows linearly; an image takes 1.4 kB besides its thumbnail.

    Args:
        thumbnails: uint8 [N, 16, 16, 3].
        mirrored: compare with mirrored images instead.
        neighbours: number kept per image.
        floor: minimum cosine of a candidate.
        progress: called with the step, the number done and the total.
    """
    if len(thumbnails) < 2:
        return Candidates(np.empty((0, 2), np.int64), np.empty(0, np.float32))
    plain, crops = _descriptors(thumbnails, mirrored=mirrored)
    codes = _order_pairs(_best_neighbours(plain, crops, neighbours, floor, progress))
    # Keep one row per pair, with its best cosine.
    order = np.lexsort((-codes["cosine"], codes["second"], codes["first"]))
    codes = codes[order]
    fresh = np.ones(len(codes), bool)
    fresh[1:] = (np.diff(codes["first"]) != 0) | (np.diff(codes["second"]) != 0)
    codes = codes[fresh]
    return Candidates(np.stack([codes["first"], codes["second"]], axis=1).astype(np.int64), codes["cosine"].copy())


_PAIR_DTYPE: Final = np.dtype([("first", np.int32), ("second", np.int32), ("cosine", np.float32)])
_MAX_WAITING_PAIRS: Final = 5_000_000


def _best_neighbours(plain: Array, crops: list[Array], count: int, floor: float, progress: Progress) -> Array:
    """Return the `count` best pairs of every image; of those that are not among them, few are in memory at a time."""
    kept, waiting, number = np.empty(0, _PAIR_DTYPE), list[Array](), 0
    for found in _neighbours(plain, crops, count, floor, progress):
        waiting.append(found)
        number += len(found)
        if number > max(_MAX_WAITING_PAIRS, len(kept)):
            kept, waiting, number = _keep_best(np.concatenate([kept, *waiting]), count), [], 0
    return _keep_best(np.concatenate([kept, *waiting]), count)


def _neighbours(plain: Array, crops: list[Array], count: int, floor: float, progress: Progress) -> Iterator[Array]:
    n = len(plain)
    jobs = _exhaustive_jobs(n) if n <= EXACT_SEARCH_LIMIT else _clustered_jobs(plain)
    done, total = 0, n if n <= EXACT_SEARCH_LIMIT else n * _PROBED_CLUSTERS
    for rows, columns in jobs:
        found = [_similar_pairs(plain, crops, rows, block, floor) for block in columns]
        yield _keep_best(np.concatenate(found), count)
        done += len(rows)
        progress("Comparing photos", done, total)


def _similar_pairs(plain: Array, crops: list[Array], rows: Array, columns: Array, floor: float) -> Array:
    """Return pairs of row and column whose cosine, in the best view, is at least `floor`."""
    block = plain[rows]
    cosines = block @ crops[0][columns].T
    for crop in crops[1:]:
        # Either photo may be the cropped one; the other case is covered when rows and columns are swapped.
        np.maximum(cosines, block @ crop[columns].T, out=cosines)
    # Two-dimensional nonzero would take as long as the matrix product.
    flat = np.flatnonzero(cosines >= floor)
    i, j = np.divmod(flat, len(columns))
    found = np.empty(len(flat), _PAIR_DTYPE)
    found["first"], found["second"], found["cosine"] = rows[i], columns[j], cosines.ravel()[flat]
    return np.asarray(found[found["first"] != found["second"]])


def _exhaustive_jobs(n: int) -> Iterator[tuple[Array, list[Array]]]:
    blocks = [np.arange(start, min(start + _BLOCK_ROWS, n)) for start in range(0, n, _BLOCK_ROWS)]
    return ((rows, blocks) for rows in blocks)


def _clustered_jobs(plain: Array) -> Iterator[tuple[Array, list[Array]]]:
    """Compare each image only with those around its nearest cluster centres."""
    centres = _kmeans_centres(plain, max(len(plain) // _CLUSTER_SIZE, 2))
    nearest = np.concatenate([_nearest_centres(block, centres) for block in _blocks(plain)])
    cells = np.arange(len(centres) + 1)
    home = np.argsort(nearest[:, 0], kind="stable")
    home_ends = np.searchsorted(nearest[home, 0], cells)
    visits = np.argsort(nearest.ravel(), kind="stable")
    visit_ends = np.searchsorted(nearest.ravel()[visits], cells)
    for cell in range(len(centres)):
        members = home[home_ends[cell] : home_ends[cell + 1]]
        rows = visits[visit_ends[cell] : visit_ends[cell + 1]] // nearest.shape[1]
        for block in _blocks(rows):
            yield block, list(_blocks(members))


def _kmeans_centres(plain: Array, count: int) -> Array:
    """Return unit cluster centres [count, D]: a few iterations of k-means on an evenly spaced sample."""
    sample = plain[_evenly_spaced(len(plain))]
    centres = sample[np.linspace(0, len(sample) - 1, count).astype(np.int64)]
    for _ in range(_KMEANS_ITERATIONS):
        owner = np.concatenate([_nearest_centres(block, centres, 1)[:, 0] for block in _blocks(sample)])
        sums = np.zeros_like(centres)
        np.add.at(sums, owner, sample)
        # A centre without photos is unchanged.
        sums = np.where(np.bincount(owner, minlength=count)[:, None] > 0, sums, centres)
        centres = sums / (np.linalg.norm(sums, axis=1, keepdims=True) + 1e-9)
    return np.asarray(centres)


def _nearest_centres(block: Array, centres: Array, count: int = _PROBED_CLUSTERS) -> Array:
    """Return the `count` nearest centres of every row, or all if there are fewer, nearest first, int32 [N, count]."""
    distances = -(block @ centres.T)
    count = min(count, len(centres))
    nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(distances, nearest, axis=1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(nearest, order, axis=1).astype(np.int32))


def _blocks(values: Array) -> Iterator[Array]:
    return (values[start : start + _BLOCK_ROWS] for start in range(0, len(values), _BLOCK_ROWS))


def _keep_best(found: Array, count: int) -> Array:
    """Keep the `count` best pairs of every first index."""
    found = found[np.lexsort((-found["cosine"], found["first"]))]
    starts = np.searchsorted(found["first"], found["first"], side="left")
    return np.asarray(found[np.arange(len(found)) - starts < count])


def _order_pairs(found: Array) -> Array:
    first, second = found["first"].copy(), found["second"].copy()
    found["first"], found["second"] = np.minimum(first, second), np.maximum(first, second)
    return found


def _descriptors(thumbnails: Array, *, mirrored: bool) -> tuple[Array, list[Array]]:
    """Return unit descriptors [N, D] of the images, and of the five views they are compared with."""
    views = _views()
    project = _whitening(_standardize_rows(_apply_view(thumbnails[_evenly_spaced(len(thumbnails))], views[0])))
    plain = _project(thumbnails, views[0], project)
    others = thumbnails[:, :, ::-1] if mirrored else thumbnails
    first = _project(others, views[0], project) if mirrored else plain
    return plain, [first, *(_project(others, view, project) for view in views[1:])]


def _evenly_spaced(n: int) -> Array:
    return np.linspace(0, n - 1, min(n, _FIT_SAMPLE)).round().astype(np.int64)


def _project(thumbnails: Array, view: tuple[Array, Array], project: tuple[Array, Array]) -> Array:
    centre, matrix = project
    result = np.empty((len(thumbnails), matrix.shape[1]), np.float32)
    for start in range(0, len(thumbnails), _BLOCK_ROWS):
        piece = (_standardize_rows(_apply_view(thumbnails[start : start + _BLOCK_ROWS], view)) - centre) @ matrix
        result[start : start + _BLOCK_ROWS] = piece / (np.linalg.norm(piece, axis=1, keepdims=True) + 1e-9)
    return result


def _apply_view(thumbnails: Array, view: tuple[Array, Array]) -> Array:
    rows, columns = view
    return np.asarray(rows @ thumbnails.astype(np.float32).transpose(0, 3, 1, 2) @ columns.T).reshape(
        len(thumbnails), -1
    )


def _standardize_rows(values: Array) -> Array:
    centred = values - values.mean(1, keepdims=True)
    return np.asarray(centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-6))


def _whitening(values: Array) -> tuple[Array, Array]:
    """Return the mean [V] and a matrix [V, D] that equalises the weight of all principal directions."""
    centre = values.mean(0)
    variance, directions = np.linalg.eigh(np.cov(values - centre, rowvar=False, bias=True).astype(np.float64))
    variance, directions = variance[::-1][:_DIMENSIONS], directions[:, ::-1][:, :_DIMENSIONS]
    # Few photos span few directions; equally weighted, even copies would be orthogonal.
    shrink = _SHRINKAGE + _SMALL_SAMPLE_SHRINKAGE * (_DIMENSIONS / len(values)) ** 2
    scale = np.sqrt(variance.clip(0) + shrink * variance.mean() + 1e-12)
    return centre, np.asarray(directions / scale, np.float32)


def _views() -> list[tuple[Array, Array]]:
    """Return the whole image and four crops, each as matrices over rows and columns: [8, 16] and [8, 16]."""
    ends = [(0.0, 1 - _CROP_SHIFT), (_CROP_SHIFT, 1.0)]
    whole = _averaging_matrix(0, 1)
    crops = [(_averaging_matrix(*rows), _averaging_matrix(*columns)) for rows in ends for columns in ends]
    return [(whole, whole), *crops]


def _averaging_matrix(start: float, stop: float) -> Array:
    edges = np.linspace(start, stop, _DESCRIPTOR_SIDE + 1) * COLOUR_THUMBNAIL_SIDE
    pixels = np.arange(COLOUR_THUMBNAIL_SIDE)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    share = overlap.clip(0)
    return np.asarray(share / share.sum(1, keepdims=True), np.float32)
