"""`assay collect`: collect training images from a camera or video."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.camera_session import end_on_signals, notify, open_window, stop_check
from assay.cli.console import echo, shell_command
from assay.core.errors import UsageError

if TYPE_CHECKING:
    from assay.live import Frame
    from assay.live.collect import CollectionSummary, ImageWriter, SimilarityMeasure
    from assay.live.tk_window import Window


def collect(
    source: Annotated[str, typer.Argument(help="A camera's number, rtsp:// or http(s)://, a video file, or a folder.")],
    *,
    to: Annotated[Path, typer.Option(help="Folder for the class folders; it may hold photos already.")],
    classes: Annotated[
        list[str], typer.Option("--class", help="A class; again for each. Hold 1, 2, ... to photograph it.")
    ],
    every: Annotated[str, typer.Option(help="Least time between two shots.")] = "0.5s",
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many photos.")] = None,
    skip_alike: Annotated[
        bool, typer.Option("--skip-alike", help="Do not write what is nearly the same as a recent shot.")
    ] = False,
    show: Annotated[
        bool | None, typer.Option("--open_window/--no-open_window", help="By default where there is a screen.")
    ] = None,
) -> None:
    """Photograph classes: hold a class's key and move the thing about. q or Ctrl-C ends.

    Without a screen, give one class: it is photographed all the time. Files are never written over. Shots
    that are nearly the same as a recent one are told: they teach nothing new.

    Example: assay collect 0 --to photos --class cup --class bottle
    """
    from assay.core.duration import parse_duration
    from assay.live import parse_source
    from assay.live.collect import CLASS_KEYS, CollectionSummary, ImageWriter, RecentImages
    from assay.live.collect import collect as collect_from

    pause = parse_duration(every)
    found = parse_source(source, 1.0)
    if len(classes) > len(CLASS_KEYS):
        raise UsageError(f"there are keys for {len(CLASS_KEYS)} classes: give fewer at a time")
    shots, collected = ImageWriter(to, classes), CollectionSummary()
    with end_on_signals(), open_window("Assay: collect", wanted=show) as shown, ExitStack() as stack:
        if shown is None and len(classes) > 1:
            raise UsageError("without a window one class at a time is photographed: give one --class")
        stopped = stack.enter_context(stop_check(shown, lambda: _status_text(shots, collected)))
        collect_from(
            found,
            shots,
            RecentImages(_similarity_measure()),
            _class_selector(shown, classes),
            every=pause,
            tell=notify,
            collected=collected,
            show=_display(shown, shots, collected),
            stopped=stopped,
            count=count,
            skip_alike=skip_alike,
            in_time=shown is not None,
        )
    _print_collection_summary(shots, collected, to, skip_alike=skip_alike)


def _similarity_measure() -> "SimilarityMeasure":
    """Measure likeness as `assay check` and the split do: what is told here is what they find."""
    import cv2

    from assay.data.features import resize_to_square
    from assay.data.image_registration import THUMBNAIL_SIDE, similarity
    from assay.data.near_duplicates import SIMILARITY_THRESHOLDS
    from assay.live.collect import SimilarityMeasure

    return SimilarityMeasure(
        thumbnail=lambda pixels: resize_to_square(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), THUMBNAIL_SIDE),
        likeness=similarity,
        least=SIMILARITY_THRESHOLDS[THUMBNAIL_SIDE],
    )


def _class_selector(shown: "Window | None", classes: list[str]) -> Callable[[], str | None]:
    """Return what tells which class is to be photographed now."""
    from assay.live.collect import CLASS_KEYS

    if shown is None:
        return lambda: classes[0]
    by_key = dict(zip(CLASS_KEYS, classes, strict=False))
    return lambda: by_key.get(shown.held or "")


def _display(shown: "Window | None", shots: "ImageWriter", collected: "CollectionSummary") -> "Callable[[Frame], None]":
    from assay.live.collect import CLASS_KEYS
    from assay.live.overlay import draw_lines

    def show(frame: "Frame") -> None:
        if shown is None:
            return
        counts = shots.counts.items()
        lines = [f"{key}  {name}  {count}" for key, (name, count) in zip(CLASS_KEYS, counts, strict=False)]
        if collected.warned:
            lines.append("nearly the same as before: move it, or the camera")
        shown.show(draw_lines(frame.pixels.copy(), lines))

    return show


def _status_text(shots: "ImageWriter", collected: "CollectionSummary") -> str:
    taken, alike = sum(collected.taken.values()), sum(collected.alike.values())
    counts = ", ".join(f"{name} {count}" for name, count in shots.counts.items())
    doubt = f"; {alike} nearly the same as another" if alike else ""
    return f"{collected.frames} frames  {taken} new{doubt}  in all: {counts}"


def _print_collection_summary(
    shots: "ImageWriter", collected: "CollectionSummary", to: Path, *, skip_alike: bool
) -> None:
    for name, count in shots.counts.items():
        alike = collected.alike.get(name, 0)
        fate = "not written" if skip_alike else "vary more"
        warning = f"; {alike} nearly the same as another: {fate}" if alike else ""
        echo(f"{name}: {collected.taken.get(name, 0)} new, {count} in all{warning}")
    if sum(1 for count in shots.counts.values() if count) > 1:
        echo(shell_command("train", to))
