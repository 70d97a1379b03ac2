"""`assay collect`: collect training images from a camera or video."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.camera_session import end_on_signals, notify, open_window, stop_check
from assay.cli.console import echo, shell_command
from assay.core.errors import UsageError
from assay.core.text_layout import counted

if TYPE_CHECKING:
    from assay.live import Frame
    from assay.live.collect import CollectionSummary, ImageWriter, SimilarityMeasure
    from assay.live.display import Window


def collect(
    source: Annotated[str, typer.Argument(help="Camera number, rtsp:// or http(s):// URL, video file, or folder.")],
    *,
    to: Annotated[Path, typer.Option(help="Output folder; photos are added to its class folders.")],
    classes: Annotated[
        list[str], typer.Option("--class", help="Name of a class; repeatable. Hold key 1, 2, ... to capture it.")
    ],
    every: Annotated[str, typer.Option(help="Minimum time between two photos.")] = "0.5s",
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many photos.")] = None,
    skip_duplicates: Annotated[
        bool, typer.Option("--skip-duplicates", help="Skip near-duplicates of recent photos.")
    ] = False,
    show: Annotated[
        bool | None,
        typer.Option("--window/--no-window", help="Show a window. (default: if there is a screen)"),
    ] = None,
) -> None:
    """Collect training photos from a camera: hold down a class's key while moving the object.

    Press q or Ctrl-C to stop.
    Without a screen, give one class; it is captured continuously. Existing files are never overwritten.
    Near-duplicates of recent photos are reported, since they add no information.

    Example: assay collect 0 --to photos --class cup --class bottle
    """
    from assay.core.duration import parse_duration
    from assay.live import parse_source
    from assay.live.collect import CLASS_KEYS, CollectionSummary, ImageWriter, RecentImages
    from assay.live.collect import collect as collect_from

    interval = parse_duration(every)
    frame_source = parse_source(source, 1.0)
    if len(classes) > len(CLASS_KEYS):
        raise UsageError(f"at most {len(CLASS_KEYS)} classes can be collected at a time: give fewer")
    writer, summary = ImageWriter(to, classes), CollectionSummary()
    with end_on_signals(), open_window("Assay: collect", wanted=show) as window, ExitStack() as stack:
        if window is None and len(classes) > 1:
            raise UsageError("without a window only one class can be collected at a time: give one --class")
        stopped = stack.enter_context(stop_check(window, lambda: _status_text(writer, summary)))
        collect_from(
            frame_source,
            writer,
            RecentImages(_similarity_measure()),
            _class_selector(window, classes),
            interval=interval,
            notify=notify,
            summary=summary,
            show=_display(window, writer, summary),
            stopped=stopped,
            max_images=count,
            skip_duplicates=skip_duplicates,
            real_time=window is not None,
        )
    _print_collection_summary(writer, summary, to, skip_duplicates=skip_duplicates)


def _similarity_measure() -> "SimilarityMeasure":
    """Use the similarity measure and threshold of `assay check` and of the split."""
    import cv2

    from assay.data.image_features import resize_to_square
    from assay.data.image_similarity import THUMBNAIL_SIDE, similarity
    from assay.data.near_duplicates import SIMILARITY_THRESHOLDS
    from assay.live.collect import SimilarityMeasure

    return SimilarityMeasure(
        thumbnail=lambda pixels: resize_to_square(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), THUMBNAIL_SIDE),
        similarity=similarity,
        threshold=SIMILARITY_THRESHOLDS[THUMBNAIL_SIDE],
    )


def _class_selector(window: "Window | None", classes: list[str]) -> Callable[[], str | None]:
    """Return a function that gives the class to capture now, or None."""
    from assay.live.collect import CLASS_KEYS

    if window is None:
        return lambda: classes[0]
    by_key = dict(zip(CLASS_KEYS, classes, strict=False))
    return lambda: by_key.get(window.held or "")


def _display(window: "Window | None", writer: "ImageWriter", summary: "CollectionSummary") -> "Callable[[Frame], None]":
    from assay.live.collect import CLASS_KEYS
    from assay.live.display import draw_lines

    def show(frame: "Frame") -> None:
        if window is None:
            return
        counts = writer.counts.items()
        lines = [f"{key}  {name}  {count}" for key, (name, count) in zip(CLASS_KEYS, counts, strict=False)]
        if summary.newest_is_duplicate:
            lines.append("near-duplicate of a recent photo: move the object or the camera")
        window.show(draw_lines(frame.pixels.copy(), lines))

    return show


def _status_text(writer: "ImageWriter", summary: "CollectionSummary") -> str:
    written, duplicates = sum(summary.written.values()), sum(summary.near_duplicates.values())
    counts = ", ".join(f"{name} {count}" for name, count in writer.counts.items())
    warning = f"; {counted(duplicates, 'near-duplicate')}" if duplicates else ""
    return f"{counted(summary.frames, 'frame')}  {written} new{warning}  total: {counts}"


def _print_collection_summary(
    writer: "ImageWriter", summary: "CollectionSummary", to: Path, *, skip_duplicates: bool
) -> None:
    for name, count in writer.counts.items():
        duplicates = summary.near_duplicates.get(name, 0)
        note = "skipped" if skip_duplicates else "vary the pose more"
        warning = f"; {counted(duplicates, 'near-duplicate')} ({note})" if duplicates else ""
        echo(f"{name}: {summary.written.get(name, 0)} new, {count} in total{warning}")
    if sum(1 for count in writer.counts.values() if count) > 1:
        echo(shell_command("train", to))
