"""Start, resume or only read the runs of an experiment, and measure how long they take."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assay.core.errors import AssayError, UsageError
from assay.core.tables import write_json
from assay.pipeline import (
    CrossvalResult,
    ExperimentCallbacks,
    Run,
    TrainCallbacks,
    VariantsResult,
    cross_validate,
    resume_crossval,
    resume_training,
    resume_variants,
    train_classifier,
    train_variants,
)
from assay.pipeline.experiment_runs import read_run_metrics
from assay.recipe import Recipe
from assay.training import EpochMetrics

DEFAULT_RUNS = Path("build/experiments")


@dataclass(frozen=True)
class Duration:
    """Seconds that a run took, over all attempts."""

    wall: float
    cpu: float
    """Of all processes and threads; on a machine with other work this is the comparable figure."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the options that all experiments have."""
    options = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    options.add_argument("--data", type=Path, help="the data set, for example from `assay fetch`")
    options.add_argument("--runs", type=Path, default=DEFAULT_RUNS, help=f"folder for runs (default: {DEFAULT_RUNS})")
    return options


def run_script(main: Callable[[], None]) -> None:
    """Run an experiment; errors of the data or the settings are printed as one line."""
    try:
        main()
    except AssayError as error:
        sys.exit(f"error: {error}")


@contextmanager
def timed(folder: Path) -> Iterator[None]:
    """Add the duration of the block to `FOLDER.seconds.json`, also when it is interrupted."""
    begin, cpu = time.monotonic(), _cpu_seconds()
    try:
        yield
    finally:
        before = duration(folder)
        measured = {"wall": before.wall + time.monotonic() - begin, "cpu": before.cpu + _cpu_seconds() - cpu}
        write_json(_duration_file(folder), measured)


def duration(folder: Path) -> Duration:
    """Return how long the run in `folder` took; zeros before it started."""
    path = _duration_file(folder)
    if not path.is_file():
        return Duration(0.0, 0.0)
    values = json.loads(path.read_text(encoding="utf-8"))
    return Duration(values["wall"], values["cpu"])


def _duration_file(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.with_name(f"{folder.name}.seconds.json")


def _cpu_seconds() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def train(data: Path, recipe: Recipe, folder: Path) -> Run:
    """Train in `folder`, resume what was interrupted there, or return the complete run.

    Raises:
        UsageError: the folder has a run with other settings.
    """
    run = Run(folder)
    if run.has_splits and run.recipe() != recipe:
        raise UsageError(f"{folder} has a run with other settings: delete it, or choose another folder with --runs")
    if run.has_splits and run.done:
        return run
    callbacks = TrainCallbacks(on_epoch=lambda row: _print_epoch(folder.name, row))
    with timed(folder):
        if run.has_splits:
            return resume_training(folder, callbacks).run
        return train_classifier(data, recipe, folder, callbacks).run


def crossval(data: Path, recipe: Recipe, folder: Path, *, folds: int, repeats: int) -> CrossvalResult:
    """Cross-validate in `folder`, or resume there; complete runs are not repeated."""
    callbacks = ExperimentCallbacks(on_run=_print_run)
    if _is_done(folder / "crossval.json"):
        return resume_crossval(folder, jobs=1)
    with timed(folder):
        if (folder / "crossval.json").is_file():
            return resume_crossval(folder, jobs=1, callbacks=callbacks)
        return cross_validate(data, recipe, folder, folds=folds, repeats=repeats, jobs=1, callbacks=callbacks)


def variants(data: Path, recipes: Mapping[str, Recipe], folder: Path) -> VariantsResult:
    """Train several recipes on one split in `folder`, or resume there; complete runs are not repeated."""
    callbacks = ExperimentCallbacks(on_run=_print_run, on_epoch=lambda name, row, _: _print_epoch(name, row))
    if _is_done(folder / "variants.json"):
        return resume_variants(folder, jobs=1)
    with timed(folder):
        if (folder / "variants.json").is_file():
            return resume_variants(folder, jobs=1, callbacks=callbacks)
        return train_variants(data, recipes, folder, jobs=1, callbacks=callbacks)


def _is_done(state: Path) -> bool:
    return state.is_file() and bool(json.loads(state.read_text(encoding="utf-8"))["done"])


def complete(folder: Path) -> bool:
    """Whether the run in `folder` is finished and evaluated on its training split too, as variants are."""
    run = Run(folder)
    return run.has_splits and run.done and (run.evaluation("train") / "metrics.json").is_file()


def _print_epoch(name: str, row: EpochMetrics) -> None:
    print(
        f"{time.strftime('%H:%M:%S')} {name} epoch {row.epoch}:"
        f" validation accuracy {row.val_accuracy:.4f}, loss {row.val_loss:.4f}",
        flush=True,
    )


def _print_run(name: str, metrics: Mapping[str, object]) -> None:
    values = ", ".join(f"{split} {getattr(found, 'accuracy', None)}" for split, found in metrics.items())
    print(f"{time.strftime('%H:%M:%S')} {name}: {values}", flush=True)


__all__ = [
    "DEFAULT_RUNS",
    "Duration",
    "complete",
    "crossval",
    "duration",
    "parser",
    "read_run_metrics",
    "run_script",
    "timed",
    "train",
    "variants",
]
