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
    """A frame and its predictions.

    Attributes:
        smoothed: the smoothed prediction, of this frame or an earlier one.
        prediction: the prediction for this frame alone; None if it was not classified.
        fps: processed frames per second; 0 if not yet known.
    """

    frame: Frame
    smoothed: SmoothedPrediction
    prediction: Prediction | None
    fps: float


class FrameSink(Protocol):
    """Receives frame results; must be fast, since it blocks the loop."""

    def __call__(self, result: FrameResult) -> None:
        """Receive a frame result."""


_POLL_SECONDS = 0.05
"""Seconds to wait for a frame before `stopped` is checked again."""
_RATE_WINDOW = 30
"""Number of frames over which the frame rate is computed."""


@dataclass(slots=True)
class WatchSummary:
    """Statistics of a run.

    Attributes:
        dropped: frames that were replaced by a newer one while another was processed.
        label_changes: changes of the smoothed label or of `unknown`.
        max_behind: maximum number of newer frames when a frame was finished.
        late_share: share of the frames that were more than one frame behind when finished.
        seconds: duration.
    """

    frames: int = 0
    classified: int = 0
    dropped: int = 0
    label_changes: int = 0
    max_behind: int = 0
    late_share: float = 0.0
    seconds: float = 0.0


def never_stop() -> bool:
    """Return False, so that the loop runs until the source ends."""
    return False


def watch_source(
    classifier: Classifier,
    source: FrameSource,
    sinks: Sequence[FrameSink],
    *,
    fps: float,
    smoothing: SmoothingConfig,
    notify: Notify,
    every_frame: bool = False,
    stopped: Callable[[], bool] = never_stop,
    clock: Clock | None = None,
    summary: WatchSummary | None = None,
) -> WatchSummary:
    """Classify a source until it ends, `stopped` returns True, or Ctrl-C; the source is always released.

    The newest frame is processed next; frames that arrive meanwhile are dropped and counted. A frame gives the same
    prediction as its image. `fps` is the number of frames to classify per second; with `every_frame`, all are
    classified, and a file is read at full speed without dropping frames. `notify` is called from another thread,
    `stopped` several times a second in this one. `summary` is updated while running, so it is available after Ctrl-C.

    Raises:
        AssayError: the source cannot be read.
    """
    clock = clock or Clock()
    summary = summary or WatchSummary()
    processor = _FrameProcessor(classifier, sinks, fps, smoothing, summary, every_frame=every_frame)
    # Warm up: the first prediction is slower than all others.
    classifier.predict(np.zeros((64, 64, 3), np.uint8))
    start, late = clock.now(), 0
    lossless = every_frame and not source.live
    try:
        with frame_reader(source, clock, notify, every_frame=lossless) as buffer:
            while not buffer.ended and not stopped():
                frame = buffer.take(_POLL_SECONDS)
                if frame is None:
                    continue
                processor(frame, clock.now())
                behind = 0 if lossless else buffer.newest - frame.number
                late += behind > 1
                summary.max_behind = max(summary.max_behind, behind)
                summary.dropped = buffer.dropped
    finally:
        summary.seconds = clock.now() - start
        summary.late_share = late / max(summary.frames, 1)
    return summary


class _FrameProcessor:
    """Classifies frames that are due, smooths, and calls the sinks."""

    def __init__(
        self,
        classifier: Classifier,
        sinks: Sequence[FrameSink],
        fps: float,
        smoothing: SmoothingConfig,
        summary: WatchSummary,
        *,
        every_frame: bool,
    ) -> None:
        self._classifier, self._sinks, self._summary, self._every_frame = classifier, sinks, summary, every_frame
        self._smoother = PredictionSmoother(smoothing)
        self._smoothed: SmoothedPrediction | None = None
        self._period, self._due = 1 / fps, 0.0
        self._rate = FrameRate()

    def __call__(self, frame: Frame, now: float) -> None:
        if frame.first:
            self._smoother.reset()
            self._due = frame.time
        prediction = None
        if self._every_frame or self._is_due(frame.time):
            prediction = self._classifier.predict(frame.pixels)
            self._smoothed = self._smoother.update(prediction, frame.time)
            self._summary.classified += 1
            self._summary.label_changes += self._smoothed.changed
        self._summary.frames += 1
        rate = self._rate.update(now)
        if self._smoothed is not None:
            result = FrameResult(frame, self._smoothed, prediction, rate)
            for sink in self._sinks:
                sink(result)

    def _is_due(self, time: float) -> bool:
        if time < self._due - TIME_EPSILON:
            return False
        self._due += self._period
        if self._due <= time + TIME_EPSILON:
            self._due = time + self._period
        return True


class FrameRate:
    """Frames per second over the latest frames."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_RATE_WINDOW)

    def update(self, now: float) -> float:
        """Add a frame at a time in seconds; return the rate, 0 if not yet known."""
        self._times.append(now)
        elapsed = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / elapsed if elapsed > 0 else 0.0
