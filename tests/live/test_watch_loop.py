"""The loop: which frames are classified and shown, and that the source is always released."""

import signal
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from threading import Event, active_count

import pytest

from assay.core.errors import AssayError
from assay.inference import Classifier
from assay.live import (
    Frame,
    FrameResult,
    FrameSink,
    FrameSource,
    SmoothingConfig,
    WatchSummary,
    parse_source,
    watch_source,
)
from assay.live.sources import Clock, Notify
from assay.live.watch_loop import FrameRate

PLAIN = SmoothingConfig(time_constant=0, margin=0, hold=0)


@pytest.fixture
def run(classifier: Classifier) -> Callable[..., WatchSummary]:
    """Watch a source to its end, every frame, as fast as it goes."""

    def run(source: FrameSource, *sinks: FrameSink, **settings: object) -> WatchSummary:
        messages: list[str] = []
        chosen = {"fps": 1000, "smoothing": PLAIN, "every_frame": True, "notify": messages.append} | settings
        return watch_source(classifier, source, sinks, **chosen)

    return run


def labels(results: Sequence[FrameResult]) -> list[str]:
    return [result.smoothed.label for result in results]


def test_every_frame_is_classified_like_a_photo(run, video: Path, classifier: Classifier):
    results: list[FrameResult] = []
    summary = run(parse_source(str(video), 1), results.append)
    assert labels(results) == ["red"] * 10 + ["blue"] * 10
    assert (summary.frames, summary.classified, summary.dropped, summary.label_changes) == (20, 20, 0, 2)
    for result in results:
        assert result.prediction is not None
        assert result.prediction.probabilities == classifier.predict(result.frame.pixels).probabilities


def test_frames_are_classified_at_the_interval_and_always_shown(run, make_frames, make_source):
    results: list[FrameResult] = []
    source = make_source(make_frames(["red"] * 31))
    run(source, results.append, fps=2, every_frame=False, clock=FrameByFrame(results))
    times = [result.frame.time for result in results if result.prediction is not None]
    assert times == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3])
    assert len(results) == 31


class FrameByFrame:
    """A clock whose time passes by waiting, which takes until all frames before are shown."""

    def __init__(self, results: Sequence[FrameResult]) -> None:
        self.results, self.time, self.waits = results, 0.0, 0

    def now(self) -> float:
        return self.time

    def wait(self, stop: Event, seconds: float) -> bool:
        self.waits += 1
        while len(self.results) < self.waits and not stop.wait(0.001):
            pass
        self.time += seconds
        return stop.is_set()


class LiveBurst:
    """A live source of which all frames but the first come while the first is worked on."""

    name, live = "rush", True

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.given, self.busy, self.over = frames, Event(), Event()

    def frames(self, stop: Event, clock: Clock, tell: Notify) -> Generator[Frame]:
        del stop, clock, tell
        yield self.given[0]
        self.busy.wait(10)
        yield from self.given[1:]
        self.over.set()


def test_slow_consumer_drops_frames_and_continues_with_the_newest(run, make_frames):
    source, seen = LiveBurst(make_frames(["red"] * 999 + ["blue"])), []

    def slow(result: FrameResult) -> None:
        seen.append((result.frame.number, result.smoothed.label))
        source.busy.set()
        source.over.wait(10)

    summary = run(source, slow, every_frame=False)
    assert seen == [(0, "red"), (999, "blue")]
    assert (summary.frames, summary.dropped, summary.max_behind) == (2, 998, 999)
    assert summary.late_share == 0.5


@pytest.fixture
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder we are in, and that of temporary files."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("how", ["error", "interrupt", "stop", "end"])
def test_source_is_released_in_every_case(
    how: str, run, video: Path, open_files: Callable[[Path], int], empty_folder: Path
):
    threads, seen = active_count(), []

    def sink(result: FrameResult) -> None:
        seen.append(open_files(video))
        if result.frame.number == 3 and how == "error":
            raise ZeroDivisionError
        if result.frame.number == 3 and how == "interrupt":
            signal.raise_signal(signal.SIGINT)

    expected = {"error": ZeroDivisionError, "interrupt": KeyboardInterrupt}.get(how)
    source = parse_source(str(video), 1)

    def act() -> None:
        run(source, sink, stopped=lambda: how == "stop" and len(seen) == 4)

    if expected is None:
        act()
    else:
        with pytest.raises(expected):
            act()
    assert seen[0] == 1
    assert len(seen) == (20 if how == "end" else 4)
    assert open_files(video) == 0
    assert active_count() == threads
    assert [*empty_folder.iterdir()] == []


def test_source_error_is_propagated(run, make_source, make_frames):
    with pytest.raises(AssayError, match="loose"):
        run(make_source(make_frames(["red"]), AssayError("the cable is loose")))


def test_rate_is_that_of_the_latest_frames():
    rate = FrameRate()
    assert rate.update(0) == 0
    assert [rate.update(number / 10) for number in range(1, 200)][-1] == pytest.approx(10)
    assert [rate.update(20 + number) for number in range(60)][-1] == pytest.approx(1)
