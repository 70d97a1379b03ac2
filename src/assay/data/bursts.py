"""Photos taken within moments of each other that look alike: a burst, or neighbouring frames of a video.

Time alone proves nothing (a line takes a photo of another product every second), nor does a loose likeness;
both together are asked for. Knows nothing of copies.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from assay.data.examine import Photo
from assay.data.taken import frame_of, name_time

WINDOW: Final = 2.0
"""Seconds within which two photos may belong to one burst."""
FRAMES: Final = 5
"""Frames of a film that count as moments."""
LEAST: Final = 0.6
"""Correlation of the colour thumbnails that is asked for."""

_NEIGHBOURS: Final = 8
"""How many photos after each are looked at, so that a crowded second does not cost its square."""


def burst_pairs(photos: Sequence[Photo], *, window: float = WINDOW, frames: int = FRAMES) -> np.ndarray:
    """Return pairs of photos, int64 of shape [P, 2], that were taken within moments and look alike.

    Times come from Exif, else from file names; frame numbers only from names that speak of films. Photos of
    different folders can be of one burst when both state a time, for they may have been sorted by label.

    Args:
        photos: as `examine` returns them.
        window: seconds.
        frames: largest difference of frame numbers within one film.
    """
    near = {(min(pair), max(pair)) for pair in _close(photos, window, frames)}
    alike = [pair for pair in sorted(near) if correlation(photos[pair[0]], photos[pair[1]]) >= LEAST]
    return np.array(alike, np.int64).reshape(-1, 2)


def correlation(first: Photo, second: Photo) -> float:
    """Return the correlation of two photos' colour thumbnails, from -1 to 1; 0 when one is blank."""
    a, b = (photo.features.coarse.astype(np.float64).ravel() for photo in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale > 0 else 0.0


def _close(photos: Sequence[Photo], window: float, frames: int) -> Iterator[tuple[int, int]]:
    clocks: dict[str, list[tuple[float, int]]] = defaultdict(list)
    films: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for place, photo in enumerate(photos):
        named = name_time(photo.sample.id)
        if photo.features.taken is not None:
            clocks["exif"].append((photo.features.taken, place))
        # A name is often more precise than Exif, which knows whole seconds; each is compared with its like.
        if named is not None:
            clocks["name"].append((named, place))
        elif frame := frame_of(photo.sample.id):
            films[frame.film].append((frame.number, place))
    for moments in clocks.values():
        yield from _within(sorted(moments), window)
    for moments in films.values():
        yield from _within(sorted(moments), frames)


def _within(moments: list[tuple[float, int]], most: float) -> Iterator[tuple[int, int]]:
    for reach in range(1, min(_NEIGHBOURS, len(moments) - 1) + 1):
        for (earlier, first), (later, second) in zip(moments, moments[reach:], strict=False):
            if later - earlier <= most:
                yield first, second
