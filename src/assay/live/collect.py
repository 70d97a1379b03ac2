"""The loop that photographs classes: while a key is held, or all the time, a shot every so often.

Knows nothing of windows or of the terminal: who shows pictures and which class is wanted come from outside.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from assay.live.alike import RecentShots
from assay.live.clock import Clock
from assay.live.frame import ROUNDING, Frame, Tell
from assay.live.reading import reading
from assay.live.shots import Shots
from assay.live.source import Source
from assay.live.watch import never

_TICK = 0.05

KEYS = "123456789abcdefghijklmnoprstuvwxyz"
"""Keys of the classes, in their order; q ends."""


@dataclass(slots=True)
class Collected:
    """What was collected.

    Attributes:
        taken: shots that were written, by class.
        alike: those that were nearly the same as another, by class; written all the same, unless told not to.
        latest: the newest file.
        frames: that were seen.
        warned: whether the newest shot was nearly the same as another.
    """

    taken: dict[str, int] = field(default_factory=dict)
    alike: dict[str, int] = field(default_factory=dict)
    latest: Path | None = None
    warned: bool = False
    frames: int = 0


def collect(
    source: Source,
    shots: Shots,
    recent: RecentShots,
    wanted: Callable[[], str | None],
    *,
    every: float,
    tell: Tell,
    collected: Collected,
    show: Callable[[Frame], None] = lambda _: None,
    stopped: Callable[[], bool] = never,
    count: int | None = None,
    skip_alike: bool = False,
    in_time: bool = True,
    clock: Clock | None = None,
) -> None:
    """Take photos from a source until it ends, enough are taken or somebody stops it.

    Args:
        source: gives frames.
        shots: where photos go.
        recent: knows what was photographed lately.
        wanted: asked at each frame which class is to be photographed; None: none at the moment.
        every: least seconds between two shots.
        tell: told what happens to the source.
        collected: written to as it goes on.
        show: takes every frame, for a window.
        stopped: asked between frames.
        count: shots after which to end; None: never.
        skip_alike: do not write what is nearly the same as a recent shot.
        in_time: keep to the time of a file; otherwise as fast as it can be read.
        clock: real time, where none is given.

    Raises:
        AssayError: the source cannot be read.
    """
    after: float | None = None
    film = None if source.live else Path(source.name).stem
    with reading(source, clock or Clock(), tell, every=not (in_time or source.live)) as slot:
        while not slot.ended and not stopped():
            frame = slot.take(_TICK)
            if frame is None:
                continue
            collected.frames += 1
            label = wanted()
            if label is not None and (after is None or frame.time >= after - ROUNDING):
                after = frame.time + every
                collected.warned = recent.repeats(label, frame.pixels)
                if collected.warned:
                    collected.alike[label] = collected.alike.get(label, 0) + 1
                if not (collected.warned and skip_alike):
                    collected.latest = shots.take(label, frame.pixels, film, frame.number)
                    collected.taken[label] = collected.taken.get(label, 0) + 1
            show(frame)
            if count is not None and sum(collected.taken.values()) >= count:
                return
