"""A reader thread and a one-frame buffer that always holds the newest frame of a source."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from threading import Condition, Event

from assay.live.sources import Clock, Frame, FrameSource, Notify


class FrameBuffer:
    """Hands frames from the thread that reads to the one that works; several threads may use it.

    Attributes:
        dropped: frames that were replaced before anybody took them.
        newest: number of the newest frame that came; -1: none yet.
    """

    def __init__(self, *, every: bool = False) -> None:
        """Make an empty place.

        Args:
            every: drop nothing: the reader waits until its frame was taken.
        """
        self.dropped = 0
        self.newest = -1
        self._every = every
        self._frame: Frame | None = None
        self._closed = False
        self._changed = Condition()

    def put(self, frame: Frame) -> bool:
        """Leave a frame here; tell whether any more are wanted."""
        with self._changed:
            if self._every:
                self._changed.wait_for(lambda: self._closed or self._frame is None)
            if self._closed:
                return False
            if self._frame is not None:
                self.dropped += 1
                # That something came before must not be forgotten with the frame that said so.
                frame = replace(frame, first=frame.first or self._frame.first)
            self._frame, self.newest = frame, frame.number
            self._changed.notify_all()
            return True

    def take(self, seconds: float) -> Frame | None:
        """Return the newest frame that was not taken yet; wait for one, but no longer than `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._frame is not None, seconds)
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """Let no more in; what is here may still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether nothing is here and nothing will come."""
        with self._changed:
            return self._closed and self._frame is None


@contextmanager
def frame_reader(source: FrameSource, clock: Clock, tell: Notify, *, every: bool = False) -> Iterator[FrameBuffer]:
    """Read a source while the block runs; however it ends, the source is released before this returns.

    Args:
        source: its frames come at their time: those of a file are held back until then.
        clock: for that.
        tell: told, from the reading thread, what happens to the source.
        every: drop nothing, and hold nothing back.

    Raises:
        AssayError: the source cannot be read; raised when the block has ended without another error.
    """
    slot, stop = FrameBuffer(every=every), Event()
    with ThreadPoolExecutor(1, "reading") as pool:
        task = pool.submit(_fill_buffer, source, slot, stop, clock, tell, paced=not (every or source.live))
        try:
            yield slot
        finally:
            stop.set()
            slot.close()
    task.result()


def _fill_buffer(
    source: FrameSource, slot: FrameBuffer, stop: Event, clock: Clock, tell: Notify, *, paced: bool
) -> None:
    frames = source.frames(stop, clock, tell)
    try:
        # A generator that is closed leaves its `with` blocks.
        with closing(frames):
            for frame in pace_frames(frames, stop, clock) if paced else frames:
                if not slot.put(frame):
                    return
    finally:
        slot.close()


def pace_frames(frames: Generator[Frame], stop: Event, clock: Clock) -> Iterator[Frame]:
    """Hold every frame back until as much time has passed as lies between it and the first."""
    begin: float | None = None
    for frame in frames:
        if begin is None:
            begin = clock.now() - frame.time
        ahead = begin + frame.time - clock.now()
        if ahead > 0 and clock.wait(stop, ahead):
            return
        yield frame
