"""What commands share when they print: progress on long work, tables, and JSON.

Progress goes to standard error and only to a terminal; standard output holds results alone.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from assay.progress import Progress, silent


@contextmanager
def progress_bars(unit: str | None = None) -> Iterator[Progress]:
    """Give a progress function that draws a bar for each kind of work; silent where there is no terminal.

    Args:
        unit: what is counted, "photos": the bars then also tell how many a second; none: they do not.
    """
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    rate = TextColumn(f"{{task.fields[speed]:.0f}} {unit}/s" if unit else "")
    done_of = MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), done_of, rate, TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}
        began: dict[str, tuple[float, int]] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, speed=0.0)
                began[what] = (time.monotonic(), done)
            begin, first = began[what]
            speed = (done - first) / max(time.monotonic() - begin, 1e-9)
            bars.update(tasks[what], completed=done, total=total, speed=speed)
            if done >= total:
                bars.remove_task(tasks.pop(what))

        yield report


def print_json(value: object) -> None:
    """Write a value as JSON to standard output, for programs to read."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def percent(share: float) -> str:
    """Return a share of 1 as percent with one decimal, as in `91.2 %`."""
    return f"{100 * share:.1f} %"
