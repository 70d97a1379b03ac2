"""Checkpoints of a run: `last.ckpt` to resume from, `best.ckpt` with the weights to keep.

The fingerprint of the settings they belong to.
"""

import hashlib
import json
import pickle
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from assay.core.errors import AssayError
from assay.core.files import NotAFileError, atomic_write, open_file
from assay.recipe import Recipe
from assay.training.checkpoint_validation import (
    CheckpointMismatchError,
    check_keys,
    check_state_dict,
    check_state_like,
    check_type,
    parse_epoch_metrics,
    parse_step_losses,
)
from assay.training.dataloaders import LabeledImages
from assay.training.history import EpochMetrics

_RECIPE_SECTIONS = ("preprocess", "augment", "net", "train")
_IGNORED_SETTINGS = frozenset({"train.workers", "train.device", "train.tensorboard"})


def run_fingerprint(recipe: Recipe, train: LabeledImages, val: LabeledImages) -> dict[str, str]:
    """Return every setting that affects the weights, and digests of the labels of both splits.

    The labels represent the images, which would take long to read. Settings that decide only where and how
    fast a run computes are left out.
    """
    settings = {
        name: value
        for name, value in _flatten(recipe.model_dump(mode="json", include=set(_RECIPE_SECTIONS)))
        if name not in _IGNORED_SETTINGS
    }
    settings["the order or labels of the training photos"] = _labels_digest(train)
    settings["the order or labels of the validation photos"] = _labels_digest(val)
    return settings


def _flatten(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value)


def _labels_digest(split: LabeledImages) -> str:
    return hashlib.sha256(split.targets.astype("<i8").tobytes()).hexdigest()


_FORMAT = 1
State = Mapping[str, Any]


@dataclass(frozen=True)
class TrainingState:
    """The state of a run at the end of an epoch: all that is needed to resume it."""

    settings: dict[str, str]
    """Fingerprint of the run: settings and labels by name. A checkpoint of other settings is refused."""
    rows: tuple[EpochMetrics, ...]
    """Metrics of all epochs so far."""
    losses: tuple[tuple[float, ...], ...]
    """Training loss of every step, one tuple per epoch."""
    best_epoch: int
    """Counted from 1."""
    finished: bool
    stopped_early: bool
    """Whether early stopping ended the run."""
    weights: dict[str, Tensor]
    """State dict of the trained module."""
    average: dict[str, Tensor] | None
    """State dict of the moving average of the weights."""
    average_steps: int
    """Number of updates of the moving average."""
    optimizer: State
    precision: State
    stopping: State | None
    plateau: State | None

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.rows)

    @property
    def evaluated(self) -> dict[str, Tensor]:
        """The weights that the last epoch was validated with."""
        return self.weights if self.average is None else self.average

    def require_fit(
        self,
        subject: nn.Module,
        stopping: State | None,
        plateau: State | None,
        *,
        averaged: bool,
        epochs: int,
    ) -> None:
        """Check the state against the run that is resumed.

        Args:
            subject: the module to train.
            stopping: initial state of early stopping; None without it.
            plateau: initial state of the plateau schedule; None without it.
            averaged: whether the run has a moving average.
            epochs: number of epochs of the run, unless it stops early.

        Raises:
            MisfitError: a key, type, shape or number differs.
        """
        if self.finished != (self.stopped_early or self.epoch == epochs) or self.epoch > epochs:
            over = "finished" if self.finished else "not finished"
            raise CheckpointMismatchError(f"it is {over} after {self.epoch} of {epochs} epochs")
        check_state_dict(self.weights, subject, "weights")
        if averaged != (self.average is not None):
            raise CheckpointMismatchError("average is there or missing, against the recipe")
        if self.average is not None:
            check_state_dict(self.average, subject, "average")
        check_state_like(self.stopping, stopping, "stopping")
        check_state_like(self.plateau, plateau, "plateau")

    def require(self, settings: Mapping[str, str], path: Path) -> None:
        """Check that the fingerprint of the run is that of the checkpoint.

        Args:
            settings: fingerprint of the run that is resumed.
            path: of the checkpoint, for the message.

        Raises:
            AssayError: a setting or the labels differ.
        """
        for name in sorted(self.settings.keys() | settings.keys()):
            if self.settings.get(name) != settings.get(name):
                raise AssayError(
                    f"{path} cannot be resumed: {name} differs from when the run began; restore it, or start a new run"
                )


def save_training_state(path: Path, snapshot: TrainingState) -> None:
    """Write `last.ckpt`.

    Raises:
        AssayError: the disk is full, or the folder cannot be written to.
    """
    plain = {field.name: getattr(snapshot, field.name) for field in fields(TrainingState)}
    plain["rows"] = [asdict(row) for row in snapshot.rows]
    plain["losses"] = [torch.tensor(values, dtype=torch.float64) for values in snapshot.losses]
    _save(path, {"format": _FORMAT, **plain})


def load_training_state(path: Path) -> TrainingState:
    """Read `last.ckpt` into the memory of the CPU.

    Raises:
        AssayError: the file is damaged, or was written by another version of Assay.
    """
    plain = _load(path)
    try:
        return _parse_training_state(plain)
    except CheckpointMismatchError as error:
        raise _damaged(path, error) from None


def save_best_weights(path: Path, weights: Mapping[str, Tensor], epoch: int) -> None:
    """Write `best.ckpt`: the weights of an epoch (counted from 1).

    Raises:
        AssayError: the disk is full, or the folder cannot be written to.
    """
    _save(path, {"format": _FORMAT, "epoch": epoch, "weights": dict(weights)})


def load_best_weights(path: Path, subject: nn.Module) -> None:
    """Load the weights of `best.ckpt` into the module.

    Raises:
        AssayError: the file is damaged, or was written by another version of Assay.
    """
    plain = _load(path)
    try:
        check_keys(plain, ["epoch", "weights"], "the checkpoint")
        check_state_dict(plain["weights"], subject, "weights")
    except CheckpointMismatchError as error:
        raise _damaged(path, error) from None
    subject.load_state_dict(plain["weights"])


def _parse_training_state(plain: dict[str, Any]) -> TrainingState:
    check_keys(plain, [field.name for field in fields(TrainingState)], "the checkpoint")
    for name, kind in _TYPES.items():
        check_type(plain[name], kind, name)
    for name, value in plain["settings"].items():
        check_type(name, str, "a name of settings")
        check_type(value, str, f"{name[:60]} of settings")
    for name, value in plain["precision"].items():
        check_type(value, (int, float), f"{str(name)[:60]} of precision")
    rows = parse_epoch_metrics(plain["rows"])
    losses = parse_step_losses(plain["losses"], len(rows))
    if not 1 <= plain["best_epoch"] <= len(rows) or plain["average_steps"] < 0:
        raise CheckpointMismatchError("best_epoch or average_steps is out of range")
    return TrainingState(**{**plain, "rows": rows, "losses": losses})


def _damaged(path: Path, error: CheckpointMismatchError) -> AssayError:
    return AssayError(f"{path} cannot be read: {error}; the checkpoint is damaged, start a new run")


_NONE = type(None)
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "settings": dict,
    "best_epoch": int,
    "finished": bool,
    "stopped_early": bool,
    "weights": dict,
    "average": (dict, _NONE),
    "average_steps": int,
    "optimizer": dict,
    "precision": dict,
    "stopping": (dict, _NONE),
    "plateau": (dict, _NONE),
}
# What torch.load raises for damaged, truncated, foreign or malicious files.
_TORCH_LOAD_ERRORS = (
    *(OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, LookupError, TypeError),
    *(AttributeError, AssertionError, ArithmeticError, MemoryError, struct.error),
)


def _save(path: Path, plain: dict[str, Any]) -> None:
    try:
        with atomic_write(path) as temporary:
            torch.save(plain, temporary)
    except (OSError, RuntimeError) as error:
        raise AssayError(f"{path} cannot be written: make room on the disk or choose another folder") from error


def _load(path: Path) -> dict[str, Any]:
    try:
        with open_file(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickles, which are refused just below
            plain: Any = torch.load(stream, map_location="cpu", weights_only=True)
    except NotAFileError:
        raise
    except _TORCH_LOAD_ERRORS as error:
        raise AssayError(f"{path} cannot be read: the checkpoint is missing or damaged; start a new run") from error
    if not isinstance(plain, dict):
        raise AssayError(f"{path} is no checkpoint of a run: it holds a {type(plain).__name__}; start a new run")
    found = plain.pop("format", None)
    if found != _FORMAT:
        shown = str(found)[:20]
        raise AssayError(f"{path} has the checkpoint format {shown}, not {_FORMAT}: it is of another version of Assay")
    return plain
