"""What `assay crossval` and `assay variants` print while their runs go on."""

from typing import TYPE_CHECKING

from assay.cli.console import percent, say

if TYPE_CHECKING:
    from assay.data import Dataset
    from assay.progress import Progress
    from assay.workflow import RunFigures, SeriesWatcher


def series_watcher(progress: "Progress", *, quiet: bool) -> "SeriesWatcher":
    """Return who prints epochs and runs, each with the run's name; only progress when `quiet`."""
    from assay.cli.epochs import EpochPrinter
    from assay.workflow import SeriesWatcher

    if quiet:
        return SeriesWatcher(progress)
    return SeriesWatcher(progress, on_data=_tell_data, on_epoch=EpochPrinter(), on_run=_tell_run)


def _tell_data(dataset: "Dataset") -> None:
    from assay.data import kept_together
    from assay.tables import MOST_CLASSES, listed

    counts = listed([f"{name} {count}" for name, count in dataset.counts().items()], MOST_CLASSES)
    lines = [f"{len(dataset)} photos: {counts}"]
    if kept := kept_together(dataset.samples):
        lines.append(f"{kept} groups of photos (copies, bursts, your own groups) each kept in one part")
    lines += [f"warning: {sentence}" for sentence in dataset.warnings]
    if dataset.unreadable:
        first = dataset.unreadable[0]
        lines.append(f"left out: {len(dataset.unreadable)} files, such as {first.path}: {first.reason}")
    say(*lines, "")


def _tell_run(name: str, figures: "RunFigures") -> None:
    names = {"train": "training", "val": "validation", "test": "test"}
    told = [
        f"{names[part]} {percent(one.accuracy)}" for part, one in figures.items() if one.accuracy is not None
    ]
    say(f"{name}  done: accuracy {', '.join(told)}")
