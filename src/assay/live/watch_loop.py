"""The classification loop over a frame source, and the `FrameResult` it passes to frame sinks."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from assay.inference import Classifier, Prediction
from assay.live.frame_buffer import frame_reader
from assay.live.smoothing import PredictionSmoother, SmoothedPrediction, SmoothingConfig
from assay.live.sources import TIME_EPSILON, Clock, Frame, FrameSource, Notify


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """A frame and what is known at that moment.

    Attributes:
        frame: the frame.
        answer: the steady answer, from this frame or an earlier one.
        prediction: what was said of this very frame; None where it was not classified.
        fps: frames a second that are seen; 0 while that is not known.
    """

    frame: Frame
    answer: SmoothedPrediction
    prediction: Prediction | None
    fps: float


class FrameSink(Protocol):
    """Takes views as they come; must be quick, since the next frame waits for it."""

    def __call__(self, view: FrameResult) -> None:
        """Take a view."""


_POLL_SECONDS = 0.05
"""Seconds without a frame after which the window's keys are looked at all the same."""
_RATE_WINDOW = 30
"""Frames over which the rate is told."""


@dataclass(slots=True)
class WatchSummary:
    """What came of watching.

    Attributes:
        frames: that were seen.
        classified: of these.
        dropped: that came while another was being worked on, and were replaced by a newer one.
        changes: of the answer.
        behind: how many frames newer than the one just finished there were, at worst.
        late: share of the seen frames that were more than one frame behind when they were finished.
        seconds: that it took.
    """

    frames: int = 0
    classified: int = 0
    dropped: int = 0
    changes: int = 0
    behind: int = 0
    late: float = 0.0
    seconds: float = 0.0


def never_stop() -> bool:
    """Go on until the source ends."""
    return False


def watch_source(
    classifier: Classifier,
    source: FrameSource,
    sinks: Sequence[FrameSink],
    *,
    fps: float,
    steadiness: SmoothingConfig,
    tell: Notify,
    every: bool = False,
    stopped: Callable[[], bool] = never_stop,
    clock: Clock | None = None,
    summary: WatchSummary | None = None,
) -> WatchSummary:
    """Classify a source until it ends, somebody stops it, or Ctrl-C; the source is released in any case.

    Args:
        classifier: answers. A frame goes the way of every photo that is handed over as pixels.
        source: gives frames.
        sinks: take every frame that is seen.
        fps: frames to classify a second.
        steadiness: of the answer.
        tell: told what happens to the source, from another thread.
        every: classify every frame that is seen. A file is then read as fast as that goes and drops none.
        stopped: asked between frames, in this thread, several times a second.
        clock: real time, where none is given.
        summary: written to as it goes on, for who wants to know after Ctrl-C.

    Raises:
        AssayError: the source cannot be read.
    """
    clock = clock or Clock()
    summary = summary or WatchSummary()
    work = _FrameProcessor(classifier, sinks, fps, steadiness, summary, every=every)
    # The first answer takes longer than any other; no frame should wait for it.
    classifier.predict(np.zeros((64, 64, 3), np.uint8))
    begin, late = clock.now(), 0
    waits = every and not source.live
    try:
        with frame_reader(source, clock, tell, every=waits) as slot:
            while not slot.ended and not stopped():
                frame = slot.take(_POLL_SECONDS)
                if frame is None:
                    continue
                work(frame, clock.now())
                behind = 0 if waits else slot.newest - frame.number
                late += behind > 1
                summary.behind = max(summary.behind, behind)
                summary.dropped = slot.dropped
    finally:
        summary.seconds = clock.now() - begin
        summary.late = late / max(summary.frames, 1)
    return summary


class _FrameProcessor:
    """What is done with each frame."""

    def __init__(
        self,
        classifier: Classifier,
        sinks: Sequence[FrameSink],
        fps: float,
        steadiness: SmoothingConfig,
        summary: WatchSummary,
        *,
        every: bool,
    ) -> None:
        self._classifier, self._sinks, self._summary, self._every = classifier, sinks, summary, every
        self._steady = PredictionSmoother(steadiness)
        self._answer: SmoothedPrediction | None = None
        self._period, self._due = 1 / fps, 0.0
        self._rate = FrameRate()

    def __call__(self, frame: Frame, now: float) -> None:
        if frame.first:
            self._steady.restart()
            self._due = frame.time
        prediction = None
        if self._every or self._is_due(frame.time):
            prediction = self._classifier.predict(frame.pixels)
            self._answer = self._steady.update(prediction, frame.time)
            self._summary.classified += 1
            self._summary.changes += self._answer.changed
        self._summary.frames += 1
        rate = self._rate.update(now)
        if self._answer is not None:
            view = FrameResult(frame, self._answer, prediction, rate)
            for sink in self._sinks:
                sink(view)

    def _is_due(self, time: float) -> bool:
        if time < self._due - TIME_EPSILON:
            return False
        self._due += self._period
        if self._due <= time + TIME_EPSILON:
            self._due = time + self._period
        return True


class FrameRate:
    """Frames a second, over the latest of them."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_RATE_WINDOW)

    def update(self, now: float) -> float:
        """Count a frame that came at a time in seconds; return the rate, 0 while it is not known."""
        self._times.append(now)
        passed = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / passed if passed > 0 else 0.0
