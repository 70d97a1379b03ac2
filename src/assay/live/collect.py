"""Collect training images from a frame source: near-duplicate check, image files by class, and the loop."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from assay.core.errors import UsageError
from assay.core.files import atomic_write
from assay.live.frame_buffer import frame_reader
from assay.live.sources import TIME_EPSILON, Clock, Frame, FrameSource, Notify
from assay.live.watch_loop import never_stop

_HISTORY = 30
"""Shots that a new one is compared with: enough for a pause and a return, few enough to take no time."""


@dataclass(frozen=True, slots=True)
class SimilarityMeasure:
    """How likeness is measured.

    Attributes:
        thumbnail: from a picture, uint8 [H, W, 3], to a gray square, uint8 [T, T].
        likeness: of N pairs of such squares, [N, T, T] each: float32 [N].
        least: likeness from which two count as the same.
    """

    thumbnail: Callable[[np.ndarray], np.ndarray]
    likeness: Callable[[np.ndarray, np.ndarray], np.ndarray]
    least: float


class RecentImages:
    """The latest shots of each class."""

    def __init__(self, measure: SimilarityMeasure) -> None:
        self._measure = measure
        self._thumbnails: dict[str, deque[np.ndarray]] = {}

    def repeats(self, label: str, pixels: np.ndarray) -> bool:
        """Tell whether a picture is nearly the same as a recent shot of its class; remember it."""
        thumbnail = self._measure.thumbnail(pixels)
        kept = self._thumbnails.setdefault(label, deque(maxlen=_HISTORY))
        found = False
        if kept:
            others = np.stack([*kept])
            same = np.broadcast_to(thumbnail, others.shape)
            found = bool((self._measure.likeness(same, others) >= self._measure.least).any())
        kept.append(thumbnail)
        return found


_JPEG_QUALITY = 95
_FORBIDDEN_CHARS = set('/\\:*?"<>|\0')


class ImageWriter:
    """Class folders that grow.

    Names hold what keeps shots of one moment in one part when the data is split: the time in milliseconds, or
    the film and the number of the frame.

    Attributes:
        counts: files in each class folder, those from before included, in the order of the classes.
    """

    def __init__(self, folder: Path, classes: Sequence[str], now: Callable[[], float] = time.time) -> None:
        """Look at what is there; nothing is written yet.

        Args:
            folder: of the class folders.
            classes: their names.
            now: seconds since 1970.

        Raises:
            UsageError: a name can be no folder's, or comes twice.
        """
        for name in classes:
            if not name.strip() or name.startswith(".") or _FORBIDDEN_CHARS & set(name):
                raise UsageError(f"--class {name!r} can be no folder's name: leave out {' '.join('/:*?<>|')}")
        if len({name.casefold() for name in classes}) < len(classes):
            raise UsageError("two classes have the same name: give each once")
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--to {folder} is a file: give a folder")
        self._folder, self._now = folder, now
        self.counts = {name: _count_files(folder / name) for name in classes}

    def take(self, label: str, pixels: np.ndarray, film: str | None = None, number: int = 0) -> Path:
        """Write a photo, whole or not at all, as JPEG of high quality without colour subsampling.

        Args:
            label: one of the classes.
            pixels: uint8 [H, W, 3], RGB.
            film: name of the film that the frame is from; None: it is of this moment.
            number: of the frame in the film.

        Returns:
            The new file.
        """
        path = self._free(label, film, number)
        with atomic_write(path) as temporary:
            Image.fromarray(pixels).save(temporary, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        self.counts[label] += 1
        return path

    def _free(self, label: str, film: str | None, number: int) -> Path:
        """Return a path where nothing is."""
        moment, again = round(self._now() * 1000), 1
        while True:
            repeat = f"-{again}" if again > 1 else ""
            name = f"{moment}.jpg" if film is None else f"{film}{repeat}_frame{number:06}.jpg"
            path = self._folder / label / name
            if not path.exists():
                return path
            moment, again = moment + 1, again + 1


def _count_files(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(1 for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


_POLL_SECONDS = 0.05

CLASS_KEYS = "123456789abcdefghijklmnoprstuvwxyz"
"""Keys of the classes, in their order; q ends."""


@dataclass(slots=True)
class CollectionSummary:
    """What was collected.

    Attributes:
        taken: shots that were written, by class.
        alike: those that were nearly the same as another, by class; written all the same, unless told not to.
        latest: the newest file.
        frames: that were seen.
        warned: whether the newest shot was nearly the same as another.
    """

    taken: dict[str, int] = field(default_factory=dict)
    alike: dict[str, int] = field(default_factory=dict)
    latest: Path | None = None
    warned: bool = False
    frames: int = 0


def collect(
    source: FrameSource,
    shots: ImageWriter,
    recent: RecentImages,
    wanted: Callable[[], str | None],
    *,
    every: float,
    tell: Notify,
    collected: CollectionSummary,
    show: Callable[[Frame], None] = lambda _: None,
    stopped: Callable[[], bool] = never_stop,
    count: int | None = None,
    skip_alike: bool = False,
    in_time: bool = True,
    clock: Clock | None = None,
) -> None:
    """Take photos from a source until it ends, enough are taken or somebody stops it.

    Args:
        source: gives frames.
        shots: where photos go.
        recent: knows what was photographed lately.
        wanted: asked at each frame which class is to be photographed; None: none at the moment.
        every: least seconds between two shots.
        tell: told what happens to the source.
        collected: written to as it goes on.
        show: takes every frame, for a window.
        stopped: asked between frames.
        count: shots after which to end; None: never.
        skip_alike: do not write what is nearly the same as a recent shot.
        in_time: keep to the time of a file; otherwise as fast as it can be read.
        clock: real time, where none is given.

    Raises:
        AssayError: the source cannot be read.
    """
    after: float | None = None
    film = None if source.live else Path(source.name).stem
    with frame_reader(source, clock or Clock(), tell, every=not (in_time or source.live)) as slot:
        while not slot.ended and not stopped():
            frame = slot.take(_POLL_SECONDS)
            if frame is None:
                continue
            collected.frames += 1
            label = wanted()
            if label is not None and (after is None or frame.time >= after - TIME_EPSILON):
                after = frame.time + every
                collected.warned = recent.repeats(label, frame.pixels)
                if collected.warned:
                    collected.alike[label] = collected.alike.get(label, 0) + 1
                if not (collected.warned and skip_alike):
                    collected.latest = shots.take(label, frame.pixels, film, frame.number)
                    collected.taken[label] = collected.taken.get(label, 0) + 1
            show(frame)
            if count is not None and sum(collected.taken.values()) >= count:
                return
