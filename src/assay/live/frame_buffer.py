"""A reader thread and a one-frame buffer that always holds the newest frame of a source."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from threading import Condition, Event

from assay.live.sources import Clock, Frame, FrameSource, Notify


class FrameBuffer:
    """Passes frames from the reader thread to the consumer. Thread-safe.

    `dropped` counts frames that were replaced before they were taken; `newest` is -1 before the first frame.
    """

    def __init__(self, *, every_frame: bool = False) -> None:
        """With `every_frame`, nothing is dropped: the reader waits until its frame is taken."""
        self.dropped = 0
        self.newest = -1
        self._every_frame = every_frame
        self._frame: Frame | None = None
        self._closed = False
        self._changed = Condition()

    def put(self, frame: Frame) -> bool:
        """Store a frame; return False once the buffer is closed."""
        with self._changed:
            if self._every_frame:
                self._changed.wait_for(lambda: self._closed or self._frame is None)
            if self._closed:
                return False
            if self._frame is not None:
                self.dropped += 1
                # The marker of a gap must not be lost with a dropped frame.
                frame = replace(frame, first=frame.first or self._frame.first)
            self._frame, self.newest = frame, frame.number
            self._changed.notify_all()
            return True

    def take(self, seconds: float) -> Frame | None:
        """Return the newest frame not yet taken, waiting up to `seconds` for one; None after that."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._frame is not None, seconds)
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """Reject further frames; the stored one can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether the buffer is closed and empty."""
        with self._changed:
            return self._closed and self._frame is None


@contextmanager
def frame_reader(
    source: FrameSource, clock: Clock, notify: Notify, *, every_frame: bool = False
) -> Iterator[FrameBuffer]:
    """Read a source in a thread during the block; the source is released before this returns.

    Frames of a file are delayed to their time in the video; with `every_frame` they are neither delayed nor dropped.
    `notify` is called from the reader thread.

    Raises:
        AssayError: the source cannot be read; raised at the end of the block, unless it raised another error.
    """
    buffer, stop = FrameBuffer(every_frame=every_frame), Event()
    with ThreadPoolExecutor(1, "reading") as pool:
        task = pool.submit(_fill_buffer, source, buffer, stop, clock, notify, paced=not (every_frame or source.live))
        try:
            yield buffer
        finally:
            stop.set()
            buffer.close()
    task.result()


def _fill_buffer(
    source: FrameSource, buffer: FrameBuffer, stop: Event, clock: Clock, notify: Notify, *, paced: bool
) -> None:
    frames = source.frames(stop, clock, notify)
    try:
        # Closing the generator leaves its `with` blocks, which releases the source.
        with closing(frames):
            for frame in pace_frames(frames, stop, clock) if paced else frames:
                if not buffer.put(frame):
                    return
    finally:
        buffer.close()


def pace_frames(frames: Generator[Frame], stop: Event, clock: Clock) -> Iterator[Frame]:
    """Delay every frame until its time since the first one has passed."""
    start: float | None = None
    for frame in frames:
        if start is None:
            start = clock.now() - frame.time
        delay = start + frame.time - clock.now()
        if delay > 0 and clock.wait(stop, delay):
            return
        yield frame
