"""Sources of frames, and that every source is released."""

import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from assay.core.errors import AssayError, UsageError
from assay.live import parse_source
from assay.live.sources import CameraSource, Clock, FolderSource, VideoSource

NOBODY: list[str] = []


def test_source_names_are_parsed(tmp_path: Path, video: Path):
    assert parse_source("0", 1) == CameraSource(0)
    assert parse_source("/dev/video2", 1) == CameraSource(2)
    assert parse_source("rtsp://host/a", 1) == CameraSource("rtsp://host/a")
    assert parse_source(str(tmp_path), 3) == FolderSource(tmp_path, 3)
    assert parse_source(str(video), 1) == VideoSource(video)


@pytest.mark.parametrize("text", ["nowhere.mp4", "file:///etc/passwd", "concat:a|b", "ftp://host/a", ""])
def test_invalid_source_names_are_rejected(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    if text:
        with pytest.raises(UsageError):
            parse_source(text, 1)
    else:
        assert parse_source(text, 1) == FolderSource(Path(), 1)


def test_passwords_are_not_shown():
    assert CameraSource("rtsp://me:secret@host:554/a?token=secret").name == "rtsp://host:554/a"


def test_video_yields_frames_with_their_times(video: Path, open_files: Callable[[Path], int]):
    frames = [*VideoSource(video).frames(Event(), Clock(), NOBODY.append)]
    assert [frame.number for frame in frames] == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx([number / 10 for number in range(20)])
    assert [frame.first for frame in frames] == [True] + [False] * 19
    assert frames[0].pixels.shape == (48, 64, 3)
    assert frames[0].pixels[20, 20].argmax() == 0
    assert frames[-1].pixels[20, 20].argmax() == 2
    assert open_files(video) == 0


def test_video_is_released_when_reading_stops(video: Path, open_files: Callable[[Path], int]):
    frames = VideoSource(video).frames(Event(), Clock(), NOBODY.append)
    next(frames)
    assert open_files(video) == 1
    frames.close()
    assert open_files(video) == 0


@pytest.mark.parametrize("content", [b"", b"not a video" * 100])
def test_invalid_video_raises(content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(AssayError, match=r"broken\.mp4 is not a readable video"):
        next(VideoSource(path).frames(Event(), Clock(), NOBODY.append))
    assert capfd.readouterr() == ("", "")


def test_missing_camera_raises(clock, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(AssayError, match="no frames from camera 97: check that it is plugged in"):
        next(CameraSource(97).frames(Event(), clock, NOBODY.append))
    assert clock.waits == []
    assert capfd.readouterr() == ("", "")


def test_ended_stream_is_reconnected_with_growing_pauses(video: Path, tmp_path: Path, clock):
    # A file behaves as a stream does whose other side hangs up at its end.
    stream, result = tmp_path / "stream.mp4", list[str]()
    shutil.copy(video, stream)
    frames = CameraSource(str(stream)).frames(Event(), clock, result.append)
    assert [next(frames).first for _ in range(20)] == [True] + [False] * 19
    again = next(frames)
    assert (again.number, again.first, clock.waits) == (20, True, [0.5])
    assert [message.split(" ", 1)[1] for message in result] == [
        "is lost; reconnecting",
        "is back after 0.5 s",
    ]

    stream.rename(tmp_path / "away.mp4")
    clock.waits.clear()
    clock.limit = 9
    assert [frame.number for frame in frames] == list(range(21, 40))
    assert clock.waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert len(result) == 3


def test_folder_yields_its_photos(tmp_path: Path):
    colours = {"b.png": (0, 0, 255), "a.jpg": (255, 0, 0), "c.bmp": (0, 255, 0)}
    for name, colour in colours.items():
        Image.new("RGB", (30, 20), colour).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo", encoding="utf-8")
    (tmp_path / "d.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:200])
    (tmp_path / ".hidden.png").write_bytes((tmp_path / "b.png").read_bytes())
    result: list[str] = []
    frames = [*FolderSource(tmp_path, 2).frames(Event(), Clock(), result.append)]
    assert [frame.pixels[9, 9].argmax() for frame in frames] == [0, 2, 1]
    assert [frame.time for frame in frames] == [0, 0.5, 1]
    assert len(result) == 1
    assert "d.jpg cannot be read: damaged: truncated" in result[0]


def test_folder_without_photos_is_rejected(tmp_path: Path):
    with pytest.raises(AssayError, match="contains no readable photos"):
        next(FolderSource(tmp_path, 2).frames(Event(), Clock(), NOBODY.append))


def test_folder_yields_the_same_pixels_as_evaluation(tmp_path: Path, classifier):
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (frame,) = FolderSource(tmp_path, 1).frames(Event(), Clock(), NOBODY.append)
    assert classifier.predict(frame.pixels).probabilities == classifier.predict(tmp_path / "a.png").probabilities
