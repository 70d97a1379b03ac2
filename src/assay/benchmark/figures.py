"""Write a benchmark as JSON and as a figure: latency, throughput, memory, time per stage.

Needs matplotlib.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from assay.benchmark.results import BenchmarkResult, BenchmarkRow, RepeatedMeasure
from assay.core.errors import AssayError
from assay.core.files import write_text
from assay.evaluation.figure_style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    SKY,
    VERMILION,
    new_figure,
    save_figure,
    style_axes,
    truncate_text,
)

_STAGE_COLOURS = {"decode": SKY, "preprocess": ORANGE, "inference": BLUE}
_AXIS_SCALE = 1.42
"""Axis length relative to the longest bar; leaves room for the numbers beside the bars."""


def benchmark_figure(result: BenchmarkResult) -> Figure:
    """Draw a benchmark without the combinations that could not be measured."""
    rows = result.measured
    figure = new_figure(11, 3.8 + 0.62 * max(len(rows), 2))
    axes = figure.subplots(2, 2)
    _latency(axes[0, 0], rows, result.size)
    _throughput(axes[0, 1], rows)
    _memory(axes[1, 0], rows)
    _stages(axes[1, 1], rows, result.photos)
    for panel in axes.flat:
        panel.set_yticks(range(len(rows)), [str(row.combination) for row in rows])
        panel.invert_yaxis()
        panel.margins(y=0.12)
    processors = result.machine["processors"]["usable"]
    model = f"{result.name} {result.version} · {result.machine['processor']}, {processors} processors"
    load = f"load {result.load[0]} to {result.load[1]}" if result.load[0] is not None else ""
    repeats = f"medians of {result.rounds} rounds, lines from minimum to maximum"
    figure.supxlabel(
        truncate_text(" · ".join(filter(None, (model, repeats, load))), 760, 8.5), fontsize=8.5, color=MUTED
    )
    return figure


def _latency(axes: Axes, rows: Sequence[BenchmarkRow], size: int) -> None:
    style_axes(axes, "Latency, ms per image", f"batch size 1, {size} × {size}; bars p50, ticks p95 and p99")
    tails = []
    for place, row in enumerate(rows):
        p50 = row.of(lambda trial: 1e3 * trial.p50)
        p95, p99 = row.of(lambda trial: 1e3 * trial.p95), row.of(lambda trial: 1e3 * trial.p99)
        tails.append(max(p50.highest, p99.median))
        _bar(axes, place, p50, BLUE)
        for tail, height in ((p95, 13.0), (p99, 8.0)):
            axes.plot([tail.median], [place], marker="|", markersize=height, color=VERMILION, mew=1.8)
        axes.annotate(
            f"{p50.median:.1f} · {p95.median:.1f} · {p99.median:.1f}",
            (tails[-1], place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
    axes.set_xlim(0, _AXIS_SCALE * max(tails, default=1))


def _throughput(axes: Axes, rows: Sequence[BenchmarkRow]) -> None:
    style_axes(
        axes,
        "Throughput, images/s",
        "without decoding; best number of concurrent calls × batch size",
    )
    for place, row in enumerate(rows):
        rate, setting = row.of(lambda trial: trial.throughput), row.best().setting
        _bar(axes, place, rate, GREEN)
        _write(axes, place, rate.highest, f"{rate.median:.0f}  ({setting.streams} × batch {setting.batch})")
    axes.set_xlim(0, _AXIS_SCALE * max((row.of(lambda trial: trial.throughput).highest for row in rows), default=1))


def _memory(axes: Axes, rows: Sequence[BenchmarkRow]) -> None:
    style_axes(axes, "Memory, MiB", "peak of the process: dark at batch size 1, light at best throughput")
    peaks = []
    for place, row in enumerate(rows):
        held, peak = row.memory(lambda trial: trial.memory), row.memory(lambda trial: trial.peak)
        if held is None or peak is None:
            continue
        peaks.append(peak)
        axes.barh(place, peak, color=MUTED, alpha=0.35, height=0.55)
        axes.barh(place, held, color=MUTED, height=0.55)
        _write(axes, place, peak, f"{held:.0f} · {peak:.0f}")
    axes.set_xlim(0, _AXIS_SCALE * max(peaks, default=1))


def _stages(axes: Axes, rows: Sequence[BenchmarkRow], photos: str) -> None:
    style_axes(axes, "From file to prediction, ms", truncate_text(photos, 330, 8.5))
    wholes = []
    for place, row in enumerate(rows):
        left = 0.0
        shares = row.shares()
        for name, seconds in row.stages().items():
            width = 1e3 * seconds.median
            axes.barh(
                place, width, left=left, color=_STAGE_COLOURS[name], height=0.55, label=name if place == 0 else None
            )
            left += width
        whole = row.of(lambda trial: 1e3 * sum(trial.stages)).median
        wholes.append(max(left, whole))
        _write(
            axes,
            place,
            left,
            f"{whole:.1f}  (" + " · ".join(f"{100 * share:.0f}" for share in shares.values()) + " %)",
        )
    axes.set_xlim(0, _AXIS_SCALE * max(wholes, default=1))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False, fontsize=8.5)


def _bar(axes: Axes, place: int, figure: RepeatedMeasure, colour: str) -> None:
    axes.barh(place, figure.median, color=colour, height=0.55)
    axes.plot([figure.lowest, figure.highest], [place, place], color=INK, linewidth=1.2)


def _write(axes: Axes, place: int, behind: float, text: str) -> None:
    axes.annotate(text, (behind, place), xytext=(7, 0), textcoords="offset points", va="center", fontsize=9, color=INK)


def write_benchmark(result: BenchmarkResult, folder: Path) -> list[Path]:
    """Write `bench.json` and `bench.png` atomically.

    Returns:
        The files written; without the figure if nothing could be measured.

    Raises:
        AssayError: the folder cannot be written to.
    """
    text, picture = folder / "bench.json", folder / "bench.png"
    try:
        write_text(text, json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
        if not result.measured:
            return [text]
        save_figure(benchmark_figure(result), picture)
    except OSError as error:
        raise AssayError(f"{folder} cannot be written to: {error.strerror or error}") from None
    return [text, picture]
