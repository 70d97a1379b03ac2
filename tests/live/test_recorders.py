"""Recordings of videos and tables of predictions."""

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from assay.core.errors import UsageError
from assay.image import Preprocess
from assay.inference import Prediction
from assay.live import Frame, FrameResult, SmoothedPrediction
from assay.live.recorders import CsvRecorder, VideoRecorder
from assay.recipe import PreprocessSpec

WHOLE = Preprocess(PreprocessSpec(size=16))


@pytest.fixture
def result() -> Callable[..., FrameResult]:
    def make(time: float, size: tuple[int, int] = (65, 49), *, classified: bool = True) -> FrameResult:
        pixels = np.full((size[1], size[0], 3), 128, np.uint8)
        shares = {"a": 0.75, "b": 0.25}
        answer = SmoothedPrediction("a", 0.75, shares, unknown=False, reason=None, changed=False)
        prediction = Prediction("b", 0.6, {"a": 0.4, "b": 0.6}) if classified else None
        return FrameResult(Frame(pixels, round(time * 10), time), answer, prediction, 9.9)

    return make


def frames_in(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_recording_has_the_duration_of_its_frames(suffix: str, result, tmp_path: Path):
    path = tmp_path / f"out{suffix}"
    with VideoRecorder(path, WHOLE, fps=20) as video:
        for number in range(11):
            video(result(5 + number / 10))
        assert not path.exists()
    assert frames_in(path) == 21
    assert [*tmp_path.iterdir()] == [path]


def test_recording_is_complete_after_an_error(result, tmp_path: Path):
    path = tmp_path / "out.mp4"
    record = VideoRecorder(path, WHOLE, fps=10)
    with pytest.raises(ZeroDivisionError):
        fail_while_recording(record, result(0))
    assert frames_in(path) == 1
    assert [*tmp_path.iterdir()] == [path]


def fail_while_recording(record: VideoRecorder, result: FrameResult) -> None:
    with record:
        record(result)
        raise ZeroDivisionError


def test_long_gap_is_shortened(result, tmp_path: Path):
    with VideoRecorder(tmp_path / "out.avi", WHOLE, fps=10) as video:
        for time in (0, 3600, 3600.1, 3600.2):
            video(result(time))
    assert frames_in(tmp_path / "out.avi") == 23


def test_frames_of_another_size_are_recorded(result, tmp_path: Path):
    with VideoRecorder(tmp_path / "out.avi", WHOLE, fps=10) as video:
        for number, size in enumerate([(64, 48), (128, 96), (31, 21)]):
            video(result(number / 10, size))
    assert frames_in(tmp_path / "out.avi") == 3


def test_no_file_without_frames(tmp_path: Path):
    with VideoRecorder(tmp_path / "out.avi", WHOLE):
        assert True
    assert [*tmp_path.iterdir()] == []


def test_table_rows_are_written_at_once(result, tmp_path: Path):
    path = tmp_path / "deep" / "out.csv"
    with CsvRecorder(path, ("a", "b")) as table:
        table(result(0.5))
        table(result(0.6, classified=False))
        with path.open(encoding="utf-8") as stream:
            rows = [*csv.DictReader(stream)]
    expected = {"time": "0.500", "frame": "5", "label": "a", "confidence": "0.750000", "unknown": "0"}
    expected |= {"frame_label": "b", "frame_confidence": "0.600000", "p_a": "0.750000", "p_b": "0.250000"}
    assert rows == [expected]


def test_existing_files_are_not_overwritten_and_suffixes_checked(tmp_path: Path):
    for make, name in (
        (lambda path: VideoRecorder(path, WHOLE), "a.mp4"),
        (lambda path: CsvRecorder(path, ()), "a.csv"),
    ):
        (tmp_path / name).write_bytes(b"dear")
        with pytest.raises(UsageError, match="already exists"):
            make(tmp_path / name)
        with pytest.raises(UsageError, match="the name must end in"):
            make(tmp_path / "a.txt")
        assert (tmp_path / name).read_bytes() == b"dear"
