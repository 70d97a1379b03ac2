"""What a training run tells about itself: a row an epoch, the loss of every step, and why it ended.

Knows nothing of torch, so that reports and the command line can read a run without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from assay.errors import AssayError
from assay.files import write_text
from assay.recipe import TrainSpec


class InterruptionError(AssayError):
    """Ctrl-C or a termination signal stopped training; the run folder holds what is needed to go on."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One epoch in numbers."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    """Mean over the epoch's photos of what was minimised: smoothing, class weights and L2 included."""
    train_accuracy: float
    """Share of the (augmented) training photos that were right when they were used, 0-1."""
    val_loss: float
    """Mean cross-entropy of the validation photos in nats, without smoothing, weights or L2."""
    val_accuracy: float
    """Share of the validation photos that were right, 0-1."""
    lr: float
    """Learning rate of the head in the epoch's last step."""
    seconds: float
    """Wall-clock time of training and validation."""


@dataclass(frozen=True, slots=True)
class History:
    """A finished run."""

    rows: tuple[EpochRow, ...]
    """One for every epoch, in order."""
    best_epoch: int
    """The epoch whose weights were kept, counted from 1."""
    stopped_early: bool
    """Whether early stopping ended the run before `train.epochs`."""
    seconds: float
    """Wall-clock time of all epochs, those before an interruption included."""


def score(row: EpochRow, spec: TrainSpec) -> tuple[float, float]:
    """Return what makes an epoch the best, the higher the better.

    It is early stopping's metric, or the validation loss if there is none. Equal accuracies, frequent with
    few validation photos, are decided by the loss.
    """
    by_accuracy = spec.early_stopping is not None and spec.early_stopping.metric == "val_accuracy"
    return (row.val_accuracy if by_accuracy else -row.val_loss), -row.val_loss


def best_of(rows: Sequence[EpochRow], spec: TrainSpec) -> EpochRow:
    """Return the best epoch, the first of equals."""
    return max(rows, key=lambda row: score(row, spec))


OnEpoch = Callable[[EpochRow], None]
"""Called after every epoch, when its checkpoint is on the disk."""


def epoch_line(row: EpochRow, epochs: int) -> str:
    """Return an epoch as a line for people.

    Args:
        row: the epoch.
        epochs: the largest number of epochs the run may have.
    """
    return (
        f"epoch {row.epoch}/{epochs}  loss {row.train_loss:.4f}  accuracy {row.train_accuracy:.4f}"
        f"  val loss {row.val_loss:.4f}  val accuracy {row.val_accuracy:.4f}"
        f"  lr {row.lr:.3g}  {row.seconds:.1f} s"
    )


def write_metrics(path: Path, rows: Sequence[EpochRow]) -> None:
    """Write `metrics.csv`: a header and a row an epoch, numbers in full precision."""
    names = [field.name for field in fields(EpochRow)]
    lines = [",".join(names)]
    lines += [",".join(repr(value) for value in asdict(row).values()) for row in rows]
    write_text(path, "\n".join(lines) + "\n")


def read_metrics(path: Path) -> tuple[EpochRow, ...]:
    """Read `metrics.csv` back.

    Raises:
        AssayError: the file is not one that `write_metrics` wrote.
    """
    header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    names = header.split(",")
    if names != [field.name for field in fields(EpochRow)]:
        raise AssayError(f"{path} does not hold the metrics of a run; its first line names other columns")
    rows = []
    for line in lines:
        values = dict(zip(names, line.split(","), strict=True))
        epoch = int(values.pop("epoch"))
        rows.append(EpochRow(epoch=epoch, **{name: float(value) for name, value in values.items()}))
    return tuple(rows)


def write_steps(path: Path, losses: Sequence[Sequence[float]]) -> None:
    """Write `steps.csv`: the training loss of every step.

    Args:
        path: the file.
        losses: one sequence an epoch, one loss a step.
    """
    lines = ["epoch,step,loss"]
    step = 0
    for epoch, values in enumerate(losses, start=1):
        for value in values:
            step += 1
            lines.append(f"{epoch},{step},{value:.8g}")
    write_text(path, "\n".join(lines) + "\n")
