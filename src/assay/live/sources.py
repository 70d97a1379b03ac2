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
"""Takes a sentence for the person who watches; called from any thread."""

TIME_EPSILON: Final = 1e-6
"""Seconds by which differences of times may be too short for no other reason than floating point."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, upright; nobody changes them.
        number: of the picture since the source was first opened, from 0.
        time: in seconds; of a file since its beginning, otherwise by the clock. All that depends on time
            depends on this, so that a file gives the same answers however fast it is read.
        first: whether nothing was seen just before: the beginning, or after a lost connection.
    """

    pixels: np.ndarray
    number: int
    time: float
    first: bool = False


class Clock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return seconds that never run backwards; only differences mean something."""
        return time.monotonic()

    def wait(self, stop: Event, seconds: float) -> bool:
        """Wait, but no longer than until `stop` is set; tell whether it is."""
        return stop.wait(seconds)


_TIMEOUT_MS = 5_000
"""Milliseconds without an answer, or without a picture, after which a connection counts as lost."""

# FFmpeg's own messages (-8: none); read when OpenCV first opens something.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextmanager
def open_capture(place: int | str) -> Iterator[cv2.VideoCapture]:
    """Open a camera by its number, or a file or an address; release it whatever happens.

    Yields:
        The capture; `isOpened` tells whether there is anything to read.
    """
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if isinstance(place, int):
        capture = cv2.VideoCapture(place, cv2.CAP_ANY)
        # What a driver holds back is old when it comes.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    else:
        waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
        capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, waits)
    try:
        yield capture
    finally:
        capture.release()


def decode_frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Give pictures, uint8 [H, W, 3] RGB, until there are none."""
    while capture.isOpened():
        there, picture = capture.read()
        if not there:
            return
        yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


_SCHEMES = {"rtsp", "rtsps", "http", "https"}
_DEFAULT_FPS = 25.0
"""Of files that tell no rate."""
_FIRST_RECONNECT_DELAY, _MAX_RECONNECT_DELAY = 0.5, 30.0
"""Seconds before the first and, doubled each time, at most before any other attempt to connect again."""


class FrameSource(Protocol):
    """Something that gives frames."""

    @property
    def name(self) -> str:
        """What to call it, without any password."""

    @property
    def live(self) -> bool:
        """Whether frames come at their own time and are lost when nobody takes them."""

    def frames(self, stop: Event, clock: Clock, tell: Notify) -> Generator[Frame]:
        """Give frames in their order.

        Args:
            stop: set by another thread when no more are wanted; cuts every wait short.
            clock: gives live frames their time, and waits.
            tell: told of lost connections and of files that cannot be read.

        Raises:
            AssayError: there is nothing to read.
        """


@dataclass(frozen=True)
class CameraSource:
    """A camera of this machine, or a stream; what is lost is connected again.

    Attributes:
        place: the camera's number, or an address.
    """

    place: int | str
    live: bool = field(default=True, init=False)

    @property
    def name(self) -> str:
        """`camera 0`, or the address without user and password."""
        if isinstance(self.place, int):
            return f"camera {self.place}"
        parts = urlsplit(self.place)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()

    def frames(self, stop: Event, clock: Clock, tell: Notify) -> Generator[Frame]:
        """Give frames until told to stop; connect again, ever less often, while there are none."""
        number, pause = 0, _FIRST_RECONNECT_DELAY
        lost: float | None = None
        while not stop.is_set():
            with open_capture(self.place) as capture:
                fresh = True
                for pixels in decode_frames(capture):
                    now = clock.now()
                    if lost is not None:
                        tell(f"{self.name} is back after {now - lost:.1f} s")
                    yield Frame(pixels, number, now, fresh)
                    number, pause, lost, fresh = number + 1, _FIRST_RECONNECT_DELAY, None, False
            if number == 0:
                raise AssayError(f"{self.name} gives no picture: {self._hint()}")
            if lost is None:
                lost = clock.now()
                tell(f"{self.name} is lost; connecting again")
            if clock.wait(stop, pause):
                return
            pause = min(2 * pause, _MAX_RECONNECT_DELAY)

    def _hint(self) -> str:
        if isinstance(self.place, int):
            return "see that it is plugged in, that nothing else uses it, and that you may (group video)"
        return "see that the address is right and the other side sends"


@dataclass(frozen=True)
class VideoSource:
    """A video file."""

    path: Path
    live: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def frames(self, stop: Event, clock: Clock, tell: Notify) -> Generator[Frame]:
        """Give every frame as fast as it is decoded, with its time in the film."""
        del clock, tell
        time = -1.0
        with open_capture(str(self.path)) as capture:
            told = float(capture.get(cv2.CAP_PROP_FPS))
            step = 1 / (told if 0 < told <= 1000 else _DEFAULT_FPS)
            for number, pixels in enumerate(decode_frames(capture)):
                stated = float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
                time = stated if stated > time else time + step
                yield Frame(pixels, number, time, number == 0)
                if stop.is_set():
                    return
        if time < 0:
            raise AssayError(f"{self.path} holds no video that can be read: convert it to MP4 or AVI")


@dataclass(frozen=True)
class FolderSource:
    """Photos in the order of their names, taken for a film.

    Attributes:
        path: the folder.
        fps: how many make a second.
        value_range: the model's `preprocess.value_range`.
    """

    path: Path
    fps: float
    value_range: tuple[float, float] | None = None
    live: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def frames(self, stop: Event, clock: Clock, tell: Notify) -> Generator[Frame]:
        """Give every photo; what is none is passed over, what is damaged is told."""
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
                tell(f"{path} cannot be read: {error}")
                continue
            yield Frame(pixels, number, number / self.fps, number == 0)
            number += 1
        if number == 0:
            raise AssayError(f"{self.path} holds no photo that can be read: give a folder with photos in it")


def parse_source(text: str, fps: float, value_range: tuple[float, float] | None = None) -> FrameSource:
    """Return what is meant: `0` or `/dev/video0`, an address, a video file, a folder.

    Args:
        text: as typed.
        fps: of a folder's photos.
        value_range: of a folder's photos, the model's `preprocess.value_range`.

    Raises:
        UsageError: it is none of these.
    """
    if camera := re.fullmatch(r"(?:/dev/video)?(\d{1,3})", text, re.ASCII):
        return CameraSource(int(camera[1]))
    scheme, colon, _ = text.partition("://")
    if colon:
        if scheme.lower() not in _SCHEMES:
            raise UsageError(f"{scheme}:// is no stream that can be read: give rtsp://, http:// or https://")
        return CameraSource(text)
    path = Path(text)
    if path.is_dir():
        return FolderSource(path, fps, value_range)
    if path.is_file():
        return VideoSource(path)
    raise UsageError(f"{text} is not there: give a camera number, an address, a video file or a folder")
