"""The loop: newest frame in, steady answer out, to everybody who wants it.

Knows nothing of the terminal. It is always at the newest frame; what it could not look at was dropped, and is
counted.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from assay.inference import Classifier
from assay.live.clock import Clock
from assay.live.frame import ROUNDING, Frame, Tell
from assay.live.reading import reading
from assay.live.smoothing import Answer, Steadiness, Steady
from assay.live.source import Source
from assay.live.view import Sink, View

_TICK = 0.05
"""Seconds without a frame after which the window's keys are looked at all the same."""
_RECENT = 30
"""Frames over which the rate is told."""


@dataclass(slots=True)
class Summary:
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


def never() -> bool:
    """Go on until the source ends."""
    return False


def watch(
    classifier: Classifier,
    source: Source,
    sinks: Sequence[Sink],
    *,
    fps: float,
    steadiness: Steadiness,
    tell: Tell,
    every: bool = False,
    stopped: Callable[[], bool] = never,
    clock: Clock | None = None,
    summary: Summary | None = None,
) -> Summary:
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
    summary = summary or Summary()
    work = _Work(classifier, sinks, fps, steadiness, summary, every=every)
    # The first answer takes longer than any other; no frame should wait for it.
    classifier.predict(np.zeros((64, 64, 3), np.uint8))
    begin, late = clock.now(), 0
    waits = every and not source.live
    try:
        with reading(source, clock, tell, every=waits) as slot:
            while not slot.ended and not stopped():
                frame = slot.take(_TICK)
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


class _Work:
    """What is done with each frame."""

    def __init__(
        self,
        classifier: Classifier,
        sinks: Sequence[Sink],
        fps: float,
        steadiness: Steadiness,
        summary: Summary,
        *,
        every: bool,
    ) -> None:
        self._classifier, self._sinks, self._summary, self._every = classifier, sinks, summary, every
        self._steady = Steady(steadiness)
        self._answer: Answer | None = None
        self._period, self._due = 1 / fps, 0.0
        self._rate = Rate()

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
            view = View(frame, self._answer, prediction, rate)
            for sink in self._sinks:
                sink(view)

    def _is_due(self, time: float) -> bool:
        if time < self._due - ROUNDING:
            return False
        self._due += self._period
        if self._due <= time + ROUNDING:
            self._due = time + self._period
        return True


class Rate:
    """Frames a second, over the latest of them."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_RECENT)

    def update(self, now: float) -> float:
        """Count a frame that came at a time in seconds; return the rate, 0 while it is not known."""
        self._times.append(now)
        passed = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / passed if passed > 0 else 0.0
