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
"""Images that a new one is compared with, per class."""


@dataclass(frozen=True, slots=True)
class SimilarityMeasure:
    """How near-duplicates are detected.

    Attributes:
        thumbnail: converts an image, uint8 [H, W, 3], to a gray thumbnail, uint8 [T, T].
        similarity: of N pairs of thumbnails, [N, T, T] each; returns float32 [N].
        threshold: similarity from which two images are near-duplicates.
    """

    thumbnail: Callable[[np.ndarray], np.ndarray]
    similarity: Callable[[np.ndarray, np.ndarray], np.ndarray]
    threshold: float


class RecentImages:
    """Thumbnails of the latest images of each class."""

    def __init__(self, measure: SimilarityMeasure) -> None:
        self._measure = measure
        self._thumbnails: dict[str, deque[np.ndarray]] = {}

    def is_near_duplicate(self, label: str, pixels: np.ndarray) -> bool:
        """Return whether an image is a near-duplicate of a recent one of its class, and remember it."""
        thumbnail = self._measure.thumbnail(pixels)
        recent = self._thumbnails.setdefault(label, deque(maxlen=_HISTORY))
        found = False
        if recent:
            others = np.stack([*recent])
            repeated = np.broadcast_to(thumbnail, others.shape)
            found = bool((self._measure.similarity(repeated, others) >= self._measure.threshold).any())
        recent.append(thumbnail)
        return found


_JPEG_QUALITY = 95
_FORBIDDEN_CHARS = set('/\\:*?"<>|\0')


class ImageWriter:
    """Writes images to class folders; never overwrites a file.

    File names contain the time in milliseconds, or the name of the video and the frame number, by which the split
    keeps images of one burst together. `counts` includes files that existed before.
    """

    def __init__(self, folder: Path, classes: Sequence[str], now: Callable[[], float] = time.time) -> None:
        """Count existing files; raise `UsageError` if a class is not a valid folder name or occurs twice."""
        for name in classes:
            if not name.strip() or name.startswith(".") or _FORBIDDEN_CHARS & set(name):
                raise UsageError(f"--class {name!r} is not a valid folder name: it must not contain / : * ? < > |")
        if len({name.casefold() for name in classes}) < len(classes):
            raise UsageError("two classes have the same name: give each name once")
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--to {folder} is a file: give a folder")
        self._folder, self._now = folder, now
        self.counts = {name: _count_files(folder / name) for name in classes}

    def write(self, label: str, pixels: np.ndarray, video: str | None = None, number: int = 0) -> Path:
        """Write an image, uint8 [H, W, 3] RGB, atomically as JPEG, quality 95, without chroma subsampling.

        Frame `number` of `video` is part of the file name; live frames have no video.
        """
        path = self._unused_path(label, video, number)
        with atomic_write(path) as temporary:
            Image.fromarray(pixels).save(temporary, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        self.counts[label] += 1
        return path

    def _unused_path(self, label: str, video: str | None, number: int) -> Path:
        timestamp, attempt = round(self._now() * 1000), 1
        while True:
            repeat = f"-{attempt}" if attempt > 1 else ""
            name = f"{timestamp}.jpg" if video is None else f"{video}{repeat}_frame{number:06}.jpg"
            path = self._folder / label / name
            if not path.exists():
                return path
            timestamp, attempt = timestamp + 1, attempt + 1


def _count_files(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(1 for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


_POLL_SECONDS = 0.05

CLASS_KEYS = "123456789abcdefghijklmnoprstuvwxyz"
"""Keys of the classes, in their order, without q, which stops."""


@dataclass(slots=True)
class CollectionSummary:
    """Statistics of a collection; `near_duplicates` counts by class, whether the images were written or not."""

    written: dict[str, int] = field(default_factory=dict)
    near_duplicates: dict[str, int] = field(default_factory=dict)
    newest: Path | None = None
    newest_is_duplicate: bool = False
    frames: int = 0


def collect(
    source: FrameSource,
    writer: ImageWriter,
    recent: RecentImages,
    current_class: Callable[[], str | None],
    *,
    interval: float,
    notify: Notify,
    summary: CollectionSummary,
    show: Callable[[Frame], None] = lambda _: None,
    stopped: Callable[[], bool] = never_stop,
    max_images: int | None = None,
    skip_duplicates: bool = False,
    real_time: bool = True,
    clock: Clock | None = None,
) -> None:
    """Write images from a source until it ends, `max_images` are written, or `stopped` returns True.

    `current_class` is called for each frame and returns the class to write, or None. `interval` is the minimum time
    in seconds between two images. With `real_time`, a file is played at its own speed. `summary` is updated while
    running, and `show` is called with every frame.

    Raises:
        AssayError: the source cannot be read.
    """
    due: float | None = None
    video = None if source.live else Path(source.name).stem
    with frame_reader(source, clock or Clock(), notify, every_frame=not (real_time or source.live)) as buffer:
        while not buffer.ended and not stopped():
            frame = buffer.take(_POLL_SECONDS)
            if frame is None:
                continue
            summary.frames += 1
            label = current_class()
            if label is not None and (due is None or frame.time >= due - TIME_EPSILON):
                due = frame.time + interval
                summary.newest_is_duplicate = recent.is_near_duplicate(label, frame.pixels)
                if summary.newest_is_duplicate:
                    summary.near_duplicates[label] = summary.near_duplicates.get(label, 0) + 1
                if not (summary.newest_is_duplicate and skip_duplicates):
                    summary.newest = writer.write(label, frame.pixels, video, frame.number)
                    summary.written[label] = summary.written.get(label, 0) + 1
            show(frame)
            if max_images is not None and sum(summary.written.values()) >= max_images:
                return
