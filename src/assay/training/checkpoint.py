"""Checkpoints: `last.ckpt` to go on from, `best.ckpt` to keep.

They hold tensors and plain values only, no pickled objects. Both are replaced whole, so that a kill at any
moment leaves the file of this epoch or the one before. Knows nothing of the loop.
"""

import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from assay.errors import AssayError
from assay.files import replacing
from assay.training.history import EpochRow

_FORMAT = 1
State = Mapping[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """Everything a run is, at the end of an epoch."""

    settings: dict[str, str]
    """Settings and data that the run depends on, by name; another run's snapshot cannot be taken up."""
    rows: tuple[EpochRow, ...]
    """All epochs so far."""
    losses: tuple[tuple[float, ...], ...]
    """Training loss of every step, an epoch each."""
    best_epoch: int
    """Counted from 1."""
    finished: bool
    """Whether nothing is left to do."""
    stopped_early: bool
    """Whether early stopping ended the run."""
    weights: dict[str, Tensor]
    """State of what learns."""
    average: dict[str, Tensor] | None
    """State of the moving average of the weights."""
    average_steps: int
    """Updates of the moving average."""
    optimizer: State
    precision: State
    stopping: State | None
    plateau: State | None

    @property
    def epoch(self) -> int:
        """How many epochs are over."""
        return len(self.rows)

    @property
    def evaluated(self) -> dict[str, Tensor]:
        """The weights that the last row's figures are of."""
        return self.weights if self.average is None else self.average

    def require(self, settings: Mapping[str, str], path: Path) -> None:
        """Check that the run that goes on is the run that was stopped.

        Args:
            settings: of the run that goes on.
            path: of the checkpoint, for the message.

        Raises:
            AssayError: a setting or the data differ.
        """
        for name in sorted(self.settings.keys() | settings.keys()):
            if self.settings.get(name) != settings.get(name):
                raise AssayError(
                    f"{path} cannot be resumed: {name} differs from when the run began;"
                    " restore it, or start a new run"
                )


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write `last.ckpt`.

    Raises:
        AssayError: the disk is full, or the folder cannot be written to.
    """
    plain = {field.name: getattr(snapshot, field.name) for field in fields(Snapshot)}
    plain["rows"] = [asdict(row) for row in snapshot.rows]
    plain["losses"] = [torch.tensor(values, dtype=torch.float64) for values in snapshot.losses]
    _save(path, {"format": _FORMAT, **plain})


def load_snapshot(path: Path) -> Snapshot:
    """Read `last.ckpt` into the memory of the CPU.

    Raises:
        AssayError: the file is damaged, or another version's.
    """
    plain = _load(path)
    plain["rows"] = tuple(EpochRow(**row) for row in plain["rows"])
    plain["losses"] = tuple(tuple(values.tolist()) for values in plain["losses"])
    return Snapshot(**plain)


def save_best(path: Path, weights: Mapping[str, Tensor], epoch: int) -> None:
    """Write `best.ckpt`: the weights of an epoch, counted from 1.

    Raises:
        AssayError: the disk is full, or the folder cannot be written to.
    """
    _save(path, {"format": _FORMAT, "epoch": epoch, "weights": dict(weights)})


def restore_best(path: Path, subject: nn.Module) -> None:
    """Put the weights of `best.ckpt` into the module they came from.

    Raises:
        AssayError: the file is damaged, or another version's.
    """
    subject.load_state_dict(_load(path)["weights"])


def _save(path: Path, plain: dict[str, Any]) -> None:
    try:
        with replacing(path) as temporary:
            torch.save(plain, temporary)
    except (OSError, RuntimeError) as error:
        raise AssayError(
            f"{path} cannot be written: make room on the disk or choose another folder"
        ) from error


def _load(path: Path) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise AssayError(
            f"{path} cannot be read: the checkpoint is missing or damaged; start a new run"
        ) from error
    found = plain.pop("format", None)
    if found != _FORMAT:
        raise AssayError(
            f"{path} has the checkpoint format {found}, not {_FORMAT}: it is of another version of Assay"
        )
    return plain
