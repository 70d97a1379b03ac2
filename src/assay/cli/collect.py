"""`assay collect`: photos of classes from a camera or a film, ready for training."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import say
from assay.cli.live import ended_by_signals, stopper, tell, window
from assay.cli.shell_commands import command
from assay.errors import UsageError

if TYPE_CHECKING:
    from assay.live import Frame
    from assay.live.alike import Measure
    from assay.live.collect import Collected
    from assay.live.shots import Shots
    from assay.live.window import Window


def collect(
    source: Annotated[
        str, typer.Argument(help="A camera's number, rtsp:// or http(s)://, a video file, or a folder.")
    ],
    *,
    to: Annotated[Path, typer.Option(help="Folder for the class folders; it may hold photos already.")],
    classes: Annotated[
        list[str], typer.Option("--class", help="A class; again for each. Hold 1, 2, ... to photograph it.")
    ],
    every: Annotated[str, typer.Option(help="Least time between two shots.")] = "0.5s",
    count: Annotated[int | None, typer.Option(min=1, help="Shots after which to end.")] = None,
    skip_alike: Annotated[
        bool, typer.Option("--skip-alike", help="Do not write what is nearly the same as a recent shot.")
    ] = False,
    show: Annotated[
        bool | None, typer.Option("--window/--no-window", help="By default where there is a screen.")
    ] = None,
) -> None:
    """Photograph classes: hold a class's key and move the thing about. q or Ctrl-C ends.

    Without a screen, give one class: it is photographed all the time. Files are never written over. Shots
    that are nearly the same as a recent one are told: they teach nothing new.

    Example: assay collect 0 --to photos --class cup --class bottle
    """
    from assay.live import parse_source
    from assay.live.alike import RecentShots
    from assay.live.collect import KEYS, Collected
    from assay.live.collect import collect as collect_from
    from assay.live.duration import seconds_of
    from assay.live.shots import Shots

    pause = seconds_of(every)
    found = parse_source(source, 1.0)
    if len(classes) > len(KEYS):
        raise UsageError(f"there are keys for {len(KEYS)} classes: give fewer at a time")
    shots, collected = Shots(to, classes), Collected()
    with ended_by_signals(), window("Assay: collect", wanted=show) as shown, ExitStack() as stack:
        if shown is None and len(classes) > 1:
            raise UsageError("without a window one class at a time is photographed: give one --class")
        stopped = stack.enter_context(stopper(shown, lambda: _status(shots, collected)))
        collect_from(
            found,
            shots,
            RecentShots(_measure()),
            _wanted(shown, classes),
            every=pause,
            tell=tell,
            collected=collected,
            show=_shower(shown, shots, collected),
            stopped=stopped,
            count=count,
            skip_alike=skip_alike,
            in_time=shown is not None,
        )
    _end(shots, collected, to, skip_alike=skip_alike)


def _measure() -> "Measure":
    """Measure likeness as `assay check` and the split do: what is told here is what they find."""
    import cv2

    from assay.data.duplicates import THRESHOLDS
    from assay.data.features import squashed
    from assay.data.registration import FINE, likeness
    from assay.live.alike import Measure

    return Measure(
        thumbnail=lambda pixels: squashed(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), FINE),
        likeness=likeness,
        least=THRESHOLDS[FINE],
    )


def _wanted(shown: "Window | None", classes: list[str]) -> Callable[[], str | None]:
    """Return what tells which class is to be photographed now."""
    from assay.live.collect import KEYS

    if shown is None:
        return lambda: classes[0]
    by_key = dict(zip(KEYS, classes, strict=False))
    return lambda: by_key.get(shown.held or "")


def _shower(shown: "Window | None", shots: "Shots", collected: "Collected") -> "Callable[[Frame], None]":
    from assay.live.collect import KEYS
    from assay.live.overlay import with_lines

    def show(frame: "Frame") -> None:
        if shown is None:
            return
        counts = shots.counts.items()
        lines = [f"{key}  {name}  {count}" for key, (name, count) in zip(KEYS, counts, strict=False)]
        if collected.warned:
            lines.append("nearly the same as before: move it, or the camera")
        shown.show(with_lines(frame.pixels.copy(), lines))

    return show


def _status(shots: "Shots", collected: "Collected") -> str:
    taken, alike = sum(collected.taken.values()), sum(collected.alike.values())
    counts = ", ".join(f"{name} {count}" for name, count in shots.counts.items())
    doubt = f"; {alike} nearly the same as another" if alike else ""
    return f"{collected.frames} frames  {taken} new{doubt}  in all: {counts}"


def _end(shots: "Shots", collected: "Collected", to: Path, *, skip_alike: bool) -> None:
    for name, count in shots.counts.items():
        alike = collected.alike.get(name, 0)
        fate = "not written" if skip_alike else "vary more"
        warning = f"; {alike} nearly the same as another: {fate}" if alike else ""
        say(f"{name}: {collected.taken.get(name, 0)} new, {count} in all{warning}")
    if sum(1 for count in shots.counts.values() if count) > 1:
        say(command("train", to))
