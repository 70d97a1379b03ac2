"""Frame sources: cameras, network streams, video files and folders of images, read with OpenCV."""

import os
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Final, Protocol
from urllib.parse import urlsplit

import cv2
import numpy as np

from assay.core.errors import AssayError, UsageError
from assay.image import HEAD_BYTES, DecodeError, decode, sniff

Notify = Callable[[str], None]
"""Receives a message for the user; called from any thread."""

TIME_EPSILON: Final = 1e-6
"""Tolerance in seconds for rounding errors in time differences."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a source.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, upright; must not be modified.
        number: index since the source was first opened, from 0.
        time: seconds since the beginning of a file, otherwise by the clock. Smoothing and rules use only this
            time, so that a file gives the same results at any reading speed.
        first: whether it follows a gap: the start, or a lost connection.
    """

    pixels: np.ndarray
    number: int
    time: float
    first: bool = False


class Clock:
    """The monotonic clock; replaced in tests."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def wait(self, stop: Event, seconds: float) -> bool:
        """Wait until `stop` is set or the time has passed; return whether it is set."""
        return stop.wait(seconds)


_TIMEOUT_MS = 5_000
"""Milliseconds without a response or a frame after which a connection counts as lost."""

# Silences FFmpeg; OpenCV reads it when it first opens a source.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextmanager
def open_capture(address: int | str) -> Iterator[cv2.VideoCapture]:
    """Open a camera by its number, or a file or URL, for the block; `isOpened` is false if there is nothing to read."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if isinstance(address, int):
        capture = cv2.VideoCapture(address, cv2.CAP_ANY)
        # Frames buffered by the driver are outdated.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    else:
        waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, waits)
    try:
        yield capture
    finally:
        capture.release()


def decode_frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yield frames, uint8 [H, W, 3] RGB, until there are none."""
    while capture.isOpened():
        found, pixels = capture.read()
        if not found:
            return
        yield cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


_SCHEMES = {"rtsp", "rtsps", "http", "https"}
_DEFAULT_FPS = 25.0
_FIRST_RECONNECT_DELAY, _MAX_RECONNECT_DELAY = 0.5, 30.0
"""Seconds before the first attempt to reconnect, doubled after each failure up to the maximum."""


class FrameSource(Protocol):
    """A source of frames."""

    @property
    def name(self) -> str:
        """Name for messages, without a password."""

    @property
    def live(self) -> bool:
        """Whether frames arrive in real time and are lost unless taken."""

    def frames(self, stop: Event, clock: Clock, notify: Notify) -> Generator[Frame]:
        """Yield frames in order until `stop` is set by another thread, which also interrupts waits.

        Lost connections and unreadable files are reported to `notify`.

        Raises:
            AssayError: there is nothing to read.
        """


@dataclass(frozen=True)
class CameraSource:
    """A camera by its number, or a network stream by its URL; lost connections are re-established."""

    address: int | str
    live: bool = field(default=True, init=False)

    @property
    def name(self) -> str:
        """`camera 0`, or the URL without user and password."""
        if isinstance(self.address, int):
            return f"camera {self.address}"
        parts = urlsplit(self.address)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()

    def frames(self, stop: Event, clock: Clock, notify: Notify) -> Generator[Frame]:
        """Yield frames until stopped; reconnect with increasing delays while there are none."""
        number, delay = 0, _FIRST_RECONNECT_DELAY
        lost_at: float | None = None
        while not stop.is_set():
            with open_capture(self.address) as capture:
                first = True
                for pixels in decode_frames(capture):
                    now = clock.now()
                    if lost_at is not None:
                        notify(f"{self.name} is back after {now - lost_at:.1f} s")
                    yield Frame(pixels, number, now, first)
                    number, delay, lost_at, first = number + 1, _FIRST_RECONNECT_DELAY, None, False
            if number == 0:
                raise AssayError(f"no frames from {self.name}: {self._hint()}")
            if lost_at is None:
                lost_at = clock.now()
                notify(f"{self.name} is lost; reconnecting")
            if clock.wait(stop, delay):
                return
            delay = min(2 * delay, _MAX_RECONNECT_DELAY)

    def _hint(self) -> str:
        if isinstance(self.address, int):
            return (
                "check that it is plugged in, not used by another program, and that you have permission (group video)"
            )
        return "check the URL and that the stream is running"


@dataclass(frozen=True)
class VideoSource:
    """A video file."""

    path: Path
    live: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """Path of the source."""
        return str(self.path)

    def frames(self, stop: Event, clock: Clock, notify: Notify) -> Generator[Frame]:
        """Yield every frame as fast as it is decoded, with its time in the video."""
        del clock, notify
        time = -1.0
        with open_capture(str(self.path)) as capture:
            fps = float(capture.get(cv2.CAP_PROP_FPS))
            step = 1 / (fps if 0 < fps <= 1000 else _DEFAULT_FPS)
            for number, pixels in enumerate(decode_frames(capture)):
                position = float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
                time = position if position > time else time + step
                yield Frame(pixels, number, time, number == 0)
                if stop.is_set():
                    return
        if time < 0:
            raise AssayError(f"{self.path} is not a readable video: convert it to MP4 or AVI")


@dataclass(frozen=True)
class FolderSource:
    """The images of a folder as a video, sorted by name; `fps` is images per second."""

    path: Path
    fps: float
    value_range: tuple[float, float] | None = None
    live: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """Path of the source."""
        return str(self.path)

    def frames(self, stop: Event, clock: Clock, notify: Notify) -> Generator[Frame]:
        """Yield every image; other files are skipped, and damaged images reported."""
        del clock
        number = 0
        for path in sorted(self.path.iterdir()):
            if stop.is_set():
                return
            if path.name.startswith(".") or not path.is_file():
                continue
            data = path.read_bytes()
            if sniff(data[:HEAD_BYTES]) is None:
                continue
            try:
                pixels = decode(data, value_range=self.value_range)
            except DecodeError as error:
                notify(f"{path} cannot be read: {error}")
                continue
            yield Frame(pixels, number, number / self.fps, number == 0)
            number += 1
        if number == 0:
            raise AssayError(f"{self.path} contains no readable photos: give a folder of photos")


def parse_source(text: str, fps: float, value_range: tuple[float, float] | None = None) -> FrameSource:
    """Parse a source: `0` or `/dev/video0`, a URL, a video file, or a folder.

    `fps` and `value_range` (`preprocess.value_range` of the model) apply to a folder.

    Raises:
        UsageError: it is not a source.
    """
    if camera := re.fullmatch(r"(?:/dev/video)?(\d{1,3})", text, re.ASCII):
        return CameraSource(int(camera[1]))
    scheme, colon, _ = text.partition("://")
    if colon:
        if scheme.lower() not in _SCHEMES:
            raise UsageError(f"{scheme}:// is not supported: give rtsp://, http:// or https://")
        return CameraSource(text)
    path = Path(text)
    if path.is_dir():
        return FolderSource(path, fps, value_range)
    if path.is_file():
        return VideoSource(path)
    raise UsageError(f"{text} does not exist: give a camera number, a URL, a video file or a folder")
