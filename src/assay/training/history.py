"""Training history: metrics of every epoch and losses of every step with their CSV files, and the text log of a run.

Imports no torch.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from assay.core.errors import AssayError
from assay.core.files import write_text
from assay.core.printable_text import printable
from assay.recipe import TrainSpec

METRICS_FILE = "metrics.csv"
"""One row per epoch."""
_FOLLOW_INTERVAL = 0.5


class TrainingInterruptedError(AssayError):
    """Training was stopped by Ctrl-C or a termination signal; the run can be resumed from its folder."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """Metrics of one epoch."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    """Mean training loss, with label smoothing, class weights and L2."""
    train_accuracy: float
    """Accuracy on the (augmented) training images during the epoch, 0-1."""
    val_loss: float
    """Mean cross-entropy on the validation images in nats, without smoothing, weights or L2."""
    val_accuracy: float
    """Accuracy on the validation images, 0-1."""
    lr: float
    """Learning rate of the head in the last step."""
    seconds: float
    """Wall-clock time of training and validation."""


@dataclass(frozen=True, slots=True)
class History:
    """The history of a finished run."""

    metrics: tuple[EpochMetrics, ...]
    """Of every epoch, in order."""
    best_epoch: int
    """The epoch whose weights were kept, counted from 1."""
    stopped_early: bool
    """Whether early stopping ended the run before `train.epochs`."""
    seconds: float
    """Wall-clock time of all epochs, including those before an interruption."""


def epoch_score(metrics: EpochMetrics, spec: TrainSpec) -> tuple[float, float]:
    """Return the key by which epochs are compared; higher is better.

    It is the metric of early stopping, or the validation loss without early stopping. Ties in accuracy, which
    are frequent with few validation images, are broken by the loss.
    """
    by_accuracy = spec.early_stopping is not None and spec.early_stopping.metric == "val_accuracy"
    return (metrics.val_accuracy if by_accuracy else -metrics.val_loss), -metrics.val_loss


def best_epoch_of(epochs: Sequence[EpochMetrics], spec: TrainSpec) -> EpochMetrics:
    """Return the epoch whose weights are kept: the best one, the first of several equal ones, or the last one."""
    if spec.keep_epoch == "last":
        return epochs[-1]
    return max(epochs, key=lambda metrics: epoch_score(metrics, spec))


EpochListener = Callable[[EpochMetrics], None]
"""Called after every epoch, once its checkpoint is written."""


def format_epoch(row: EpochMetrics, epochs: int) -> str:
    """Format the metrics of an epoch as one line of text; `epochs` is the run's number of epochs."""
    return (
        f"epoch {row.epoch}/{epochs}  loss {row.train_loss:.4f}  accuracy {row.train_accuracy:.4f}"
        f"  val loss {row.val_loss:.4f}  val accuracy {row.val_accuracy:.4f}"
        f"  lr {row.lr:.3g}  {row.seconds:.1f} s"
    )


def write_metrics(path: Path, rows: Sequence[EpochMetrics]) -> None:
    """Write `metrics.csv`: a header and one row per epoch, numbers in full precision."""
    names = [field.name for field in fields(EpochMetrics)]
    lines = [",".join(names)]
    lines += [",".join(repr(value) for value in asdict(row).values()) for row in rows]
    write_text(path, "\n".join(lines) + "\n")


def read_metrics(path: Path) -> tuple[EpochMetrics, ...]:
    """Read `metrics.csv`.

    Raises:
        AssayError: `write_metrics` did not write the file.
    """
    header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    names = header.split(",")
    if names != [field.name for field in fields(EpochMetrics)]:
        raise AssayError(f"{path} does not hold the metrics of a run; its first line names other columns")
    rows = []
    for line in lines:
        values = dict(zip(names, line.split(","), strict=True))
        epoch = int(values.pop("epoch"))
        rows.append(EpochMetrics(epoch=epoch, **{name: float(value) for name, value in values.items()}))
    return tuple(rows)


@contextmanager
def follow_epochs(path: Path, listener: EpochListener | None, after: int) -> Iterator[None]:
    """Call a listener for every epoch that another process writes to `metrics.csv` within the block.

    Args:
        path: the file, which may not exist yet.
        listener: called in another thread; at the end of the block, in this one.
        after: number of epochs that are known already.
    """
    if listener is None:
        yield
        return
    ended, known = threading.Event(), after

    def check() -> None:
        nonlocal known
        for row in (read_metrics(path) if path.is_file() else ())[known:]:
            known = row.epoch
            listener(row)

    def watch() -> None:
        while not ended.wait(_FOLLOW_INTERVAL):
            check()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    check()


def write_step_losses(path: Path, losses: Sequence[Sequence[float]]) -> None:
    """Write `steps.csv`: the training loss of every step, given as one sequence per epoch."""
    lines = ["epoch,step,loss"]
    step = 0
    for epoch, values in enumerate(losses, start=1):
        for value in values:
            step += 1
            lines.append(f"{epoch},{step},{value:.8g}")
    write_text(path, "\n".join(lines) + "\n")


class RunLog:
    """`training.log`: lines of text with the local time. A resumed run appends to the same file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def write(self, line: str) -> None:
        """Append one line, in a single write."""
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        with self._path.open("a", encoding="utf-8", newline="") as stream:
            stream.write(f"{now}  {printable(line)}\n")
