"""A thread that reads a source: the newest frame is always at hand, and the source is always let go of."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event

from assay.live.clock import Clock
from assay.live.frame import Frame, Tell
from assay.live.latest import Latest
from assay.live.source import Source


@contextmanager
def reading(source: Source, clock: Clock, tell: Tell, *, every: bool = False) -> Iterator[Latest]:
    """Read a source while the block runs; however it ends, the source is released before this returns.

    Args:
        source: its frames come at their time: those of a file are held back until then.
        clock: for that.
        tell: told, from the reading thread, what happens to the source.
        every: drop nothing, and hold nothing back.

    Raises:
        AssayError: the source cannot be read; raised when the block has ended without another error.
    """
    slot, stop = Latest(every=every), Event()
    with ThreadPoolExecutor(1, "reading") as pool:
        task = pool.submit(_read, source, slot, stop, clock, tell, paced=not (every or source.live))
        try:
            yield slot
        finally:
            stop.set()
            slot.close()
    task.result()


def _read(source: Source, slot: Latest, stop: Event, clock: Clock, tell: Tell, *, paced: bool) -> None:
    frames = source.frames(stop, clock, tell)
    try:
        # A generator that is closed leaves its `with` blocks.
        with closing(frames):
            for frame in in_time(frames, stop, clock) if paced else frames:
                if not slot.put(frame):
                    return
    finally:
        slot.close()


def in_time(frames: Generator[Frame], stop: Event, clock: Clock) -> Iterator[Frame]:
    """Hold every frame back until as much time has passed as lies between it and the first."""
    begin: float | None = None
    for frame in frames:
        if begin is None:
            begin = clock.now() - frame.time
        ahead = begin + frame.time - clock.now()
        if ahead > 0 and clock.wait(stop, ahead):
            return
        yield frame
