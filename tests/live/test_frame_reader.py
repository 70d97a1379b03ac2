"""The reading thread: timing of frames, errors, and release of the source."""

from threading import Event

import pytest

from assay.core.errors import AssayError
from assay.live import FrameSource
from assay.live.frame_buffer import frame_reader, pace_frames
from assay.live.sources import Clock

QUIET: list[str] = []


def read_all(source: FrameSource, error: Exception | None = None) -> None:
    """Take every frame; after the first, fail with `error` if there is one."""
    with frame_reader(source, Clock(), QUIET.append, every_frame=True) as buffer:
        while not buffer.ended:
            buffer.take(1)
            if error is not None:
                raise error


def test_frames_of_a_file_are_delivered_in_real_time(clock, make_source, make_frames):
    source = make_source(make_frames(["red"] * 5))
    frames = pace_frames(source.frames(Event(), clock, QUIET.append), Event(), clock)
    assert [round(clock.now() - 100, 6) for _ in frames] == [0, 0.1, 0.2, 0.3, 0.4]


def test_late_frames_are_not_delayed(clock, make_source, make_frames):
    source, times = make_source(make_frames(["red"] * 4)), []
    for _ in pace_frames(source.frames(Event(), clock, QUIET.append), Event(), clock):
        times.append(round(clock.now() - 100, 6))
        clock.time += 0.25 if len(times) == 1 else 0
    assert times == [0, 0.25, 0.25, 0.3]


def test_stop_interrupts_the_wait(clock, make_source, make_frames):
    stop, source = Event(), make_source(make_frames(["red"] * 4))
    stop.set()
    assert len([*pace_frames(source.frames(stop, clock, QUIET.append), stop, clock)]) == 1


def test_source_error_is_raised_and_the_source_released(make_source, make_frames):
    source = make_source(make_frames(["red"]), AssayError("the cable is loose"))
    with pytest.raises(AssayError, match="the cable is loose"):
        read_all(source)
    assert source.released == [True]


def test_consumer_error_releases_the_source(make_source, make_frames):
    source = make_source(make_frames(["red"] * 1000))
    with pytest.raises(KeyError):
        read_all(source, KeyError())
    assert source.released == [True]
