"""Synthetic frames, predictions and clocks; a video and a classifier of colours."""

import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest
from services import find_program

from assay.inference import Classifier, Prediction
from assay.live import Frame
from assay.live.sources import Clock, Notify

RGB = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


class ManualClock(Clock):
    """Time that passes only by waiting; the wait number `limit` is cut short by a wish to stop."""

    limit = -1

    def __init__(self) -> None:
        self.time = 100.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, stop: Event, seconds: float) -> bool:
        self.waits.append(round(seconds, 6))
        self.time += seconds
        return stop.is_set() or len(self.waits) == self.limit


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@dataclass(frozen=True)
class Frames:
    """A source of given frames that notes whether it was released."""

    given: Sequence[Frame]
    error: Exception | None = None
    released: list[bool] = field(default_factory=list)
    live: bool = False
    name: str = "given frames"

    def frames(self, stop: Event, clock: Clock, tell: Notify) -> Generator[Frame]:
        del stop, clock, tell
        try:
            yield from self.given
            if self.error is not None:
                raise self.error
        finally:
            self.released.append(True)


@pytest.fixture
def make_source() -> Callable[..., Frames]:
    return Frames


@pytest.fixture
def make_prediction() -> Callable[..., Prediction]:
    """A prediction of classes a and b from the probability of a."""

    def make(a: float, *, unknown: bool | None = None) -> Prediction:
        label, best = ("a", a) if a >= 0.5 else ("b", 1 - a)
        reason = "low_confidence" if unknown else None
        return Prediction(label, best, {"a": a, "b": 1 - a}, None, unknown, reason)

    return make


def picture(name: str, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    pixels[:] = RGB[name]
    return pixels


@pytest.fixture
def make_frames() -> Callable[..., list[Frame]]:
    """Frames of plain colours, ten a second."""

    def make(names: Sequence[str]) -> list[Frame]:
        return [Frame(picture(name), number, number / 10, number == 0) for number, name in enumerate(names)]

    return make


@pytest.fixture(scope="session")
def classifier(colour_bundle: Path) -> Classifier:
    return Classifier.load(colour_bundle, "onnxruntime", threads=1)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of a second of red and a second of blue, ten frames a second."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    for name in ["red"] * 10 + ["blue"] * 10:
        writer.write(picture(name)[:, :, ::-1])
    writer.release()
    return path


@pytest.fixture
def open_files() -> Callable[[Path], int]:
    """Tell how often this process holds a file open."""

    def count(path: Path) -> int:
        folder = Path("/proc/self/fd")
        if not folder.is_dir():
            pytest.skip("only Linux tells which files are open")
        return sum(1 for link in folder.iterdir() if link.is_symlink() and _target(link) == path.resolve())

    return count


def _target(link: Path) -> Path | None:
    try:
        return link.readlink()
    except FileNotFoundError:
        return None


@pytest.fixture(scope="module")
def mqtt_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Broker"]:
    """A broker of the tests' own, on a free port."""
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.process.kill()
    broker.process.wait()


class Broker:
    """Mosquitto, listening."""

    def __init__(self, folder: Path) -> None:
        path = find_program("mosquitto")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        settings = folder / "mosquitto.conf"
        settings.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen([path, "-c", str(settings)], stdout=log, stderr=log)
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        pytest.fail((folder / "log").read_text(encoding="utf-8"))
