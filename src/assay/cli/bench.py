"""`assay bench`: measure the latency, throughput, memory and accuracy of a classifier on this machine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import echo, echo_text
from assay.cli.options import LayoutOption
from assay.core.text_layout import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assay.benchmark.results import BenchmarkResult, BenchmarkRow
    from assay.core.progress import Progress
    from assay.inference import Workload
    from assay.inference.workload import EngineMeasurement

_TRIALS_OF_WORKLOADS = 200
"""Approximate number of trials of all workloads together, on two CPUs."""
_WORKLOAD_NAMES = {"latency": "one photo", "server": "server", "throughput": "folder"}


def bench(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    data: Annotated[
        Path | None, typer.Argument(help="Labelled photos, to measure accuracy and the time from file to prediction.")
    ] = None,
    *,
    layout: LayoutOption = None,
    seconds: Annotated[
        float, typer.Option(help="Approximate measuring time, excluding engine start-up and accuracy.")
    ] = 60.0,
    workloads: Annotated[
        bool,
        typer.Option(
            help="Also measure engine settings for one photo, a server and a folder; later commands use them."
        ),
    ] = True,
    to: Annotated[Path | None, typer.Option(help="Output folder for bench.json and bench.png.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Benchmark a classifier with every available engine and precision.

    Measures latency, throughput, start-up time, memory, time per stage and, with labelled photos, accuracy.
    Each combination runs in a fresh process; results are medians over several rounds. Timings on a busy
    machine are unreliable; check the load.

    Then the engine settings (engine, streams, batch size) for one photo at a time, for a server and for a folder
    of photos are compared, with the precision that is used by default. `predict` and `serve` use the fastest.

    Example: assay bench model.assay photos/ --to bench
    """
    from assay.benchmark.runner import benchmark_model
    from assay.cli.console import print_json, progress_bars

    if to is not None:
        # A missing matplotlib must be reported before the measurement, not after.
        from assay.benchmark.figures import write_benchmark
    with progress_bars() as progress:
        result = benchmark_model(
            model,
            data,
            layout="auto" if layout is None else layout.value,
            seconds=seconds,
            progress=progress,
        )
        settings = _measure_workloads(model, seconds, progress) if workloads and result.measured else {}
    written = [] if to is None else write_benchmark(result, to)
    if json:
        print_json({**result.to_dict(), "workloads": {name: asdict(found) for name, found in settings.items()}})
    else:
        _print_workloads(settings)
        _print_result(result, written)
    if not result.measured:
        raise typer.Exit(1)


def _measure_workloads(model: Path, seconds: float, progress: "Progress") -> "dict[Workload, EngineMeasurement]":
    from assay.core.cpu import cpu_count
    from assay.inference import WORKLOADS
    from assay.serving.engine_measurement import EngineMeasurementJob, measure_in_process

    found = {}
    for done, workload in enumerate(WORKLOADS):
        progress("measuring workloads", done, len(WORKLOADS))
        job = EngineMeasurementJob(
            str(model), workload, "auto", "auto", cpu_count(), seconds=seconds / _TRIALS_OF_WORKLOADS
        )
        found[workload] = measure_in_process(job)
    progress("measuring workloads", len(WORKLOADS), len(WORKLOADS))
    return found


def _print_workloads(settings: "dict[Workload, EngineMeasurement]") -> None:
    rows = [
        [f"{_WORKLOAD_NAMES[workload]:<11}{name}", f"{rate:.1f}", "used" if name == str(found.setup) else ""]
        for workload, found in settings.items()
        for name, rate in found.rates.items()
    ]
    if rows:
        echo_text(_table(("photos/s", ""), rows))
        echo("engine, streams × threads per stream, photos per call; `predict` and `serve` use these settings", "")


def _print_result(result: "BenchmarkResult", written: list[Path]) -> None:
    machine, processors = result.machine, result.machine["processors"]
    measured = [(str(row.combination), row) for row in result.measured]
    if measured:
        echo_text(_table(_SPEED, [[name, *_speed(row)] for name, row in measured]))
        echo_text(_table(_COST, [[name, *_cost(row)] for name, row in measured]))
    else:
        echo("no combination could be measured:")
    for row in result.rows:
        if row.error is not None:
            echo(f"{row.combination} could not be measured: {row.error}")
    rounds = "1 round" if result.rounds == 1 else f"medians of {result.rounds} rounds"
    echo("", f"latency, throughput  from {result.size} × {result.size} pixels to logits; {rounds}")
    echo("batch                concurrent calls × images per call; the fastest of those tried")
    echo(f"file to prediction   {result.photos}")
    if result.judged:
        echo(f"accuracy             {counted(result.judged, 'photo')}")
    if result.caution:
        echo(f"warning              {result.caution}", colour="yellow")
    echo(
        f"machine              {machine['processor']}, {processors['usable']} of {processors['present']} "
        f"CPUs, {', '.join(machine['features']) or 'no CPU features reported'}"
    )
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    echo(f"versions             {libraries}, Python {machine['python']}")
    echo(f"load                 {result.load[0]} before, {result.load[1]} at the end")
    for path in written:
        echo(f"written              {path}")


def _table(names: "Sequence[str]", rows: "Sequence[Sequence[str]]") -> str:
    """Return a table with a rule below its header, followed by an empty line."""
    from assay.core.text_layout import align_columns, display_width

    head, *lines = align_columns([["", *names], *rows]).split("\n")
    rule = "─" * max(map(display_width, [head, *lines]))
    return "\n".join([head, rule, *lines, ""])


_SPEED = ("p50 ms", "p95 ms", "p99 ms", "images/s", "batch", "start s")
_COST = ("MiB", "peak", "file ms", "decode", "prep.", "infer.", "accuracy")


def _speed(row: "BenchmarkRow") -> list[str]:
    setting = row.best().setting
    return [
        f"{row.of(lambda trial: 1e3 * trial.p50).median:.2f}",
        f"{row.of(lambda trial: 1e3 * trial.p95).median:.2f}",
        f"{row.of(lambda trial: 1e3 * trial.p99).median:.2f}",
        f"{row.of(lambda trial: trial.throughput).median:.1f}",
        f"{setting.streams} × {setting.batch}",
        f"{row.of(lambda trial: trial.startup).median:.2f}",
    ]


def _cost(row: "BenchmarkRow") -> list[str]:
    from assay.core.text_layout import format_percent

    held, peak = row.memory(lambda trial: trial.memory), row.memory(lambda trial: trial.peak)
    return [
        "–" if held is None else f"{held:.0f}",
        "–" if peak is None else f"{peak:.0f}",
        f"{row.of(lambda trial: 1e3 * sum(trial.stages)).median:.2f}",
        *(format_percent(share, 0) for share in row.shares().values()),
        "–" if row.accuracy is None else format_percent(row.accuracy.share),
    ]
