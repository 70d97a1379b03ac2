"""Checkpoints of a run, `last.ckpt` to resume from and `best.ckpt` to keep, and the fingerprint of its settings.

They contain tensors and plain values only, no pickled objects. Both are replaced atomically.
"""

import hashlib
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from assay.core.errors import AssayError
from assay.core.files import NotAFileError, atomic_write, open_file
from assay.recipe import Recipe
from assay.training.checkpoint_validation import (
    CheckpointMismatchError,
    check_keys,
    check_state_dict,
    check_type,
    parse_epoch_metrics,
    parse_step_losses,
)
from assay.training.dataloaders import LabeledImages
from assay.training.device import ComputePrecision
from assay.training.history import EpochMetrics

_RECIPE_SECTIONS = ("preprocess", "augment", "net", "train")
_PRECISION = "train.precision"
_IGNORED_SETTINGS = frozenset({"train.workers", "train.device", "train.devices", "train.tensorboard"})


def run_fingerprint(
    recipe: Recipe, train: LabeledImages, val: LabeledImages, precision: ComputePrecision
) -> dict[str, str]:
    """Return every setting that affects the weights, and digests of the labels of both splits.

    The labels represent the images, which would take long to read. `precision` is what `train.precision` selected.
    """
    settings = settings_of_weights(recipe)
    settings[_PRECISION] = json.dumps(precision)
    settings["the order or labels of the training photos"] = _labels_digest(train)
    settings["the order or labels of the validation photos"] = _labels_digest(val)
    return settings


def settings_of_weights(recipe: Recipe) -> dict[str, str]:
    """Return the settings that affect the weights by name; not those that decide only where and how fast to compute."""
    return {
        name: value
        for name, value in _flatten(recipe.model_dump(mode="json", include=set(_RECIPE_SECTIONS)))
        if name not in _IGNORED_SETTINGS
    }


def _flatten(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value)


def _labels_digest(split: LabeledImages) -> str:
    return hashlib.sha256(split.targets.astype("<i8").tobytes()).hexdigest()


_FORMAT = 1
StateDict = Mapping[str, Any]


@dataclass(frozen=True)
class TrainingState:
    """The state of a run at the end of an epoch: all that is needed to resume it."""

    fingerprint: dict[str, str]
    """Settings and digests of labels by name, as of `run_fingerprint`."""
    metrics: tuple[EpochMetrics, ...]
    """Of all finished epochs."""
    step_losses: tuple[tuple[float, ...], ...]
    """Training loss of every step, one tuple per epoch."""
    best_epoch: int
    """Counted from 1."""
    finished: bool
    stopped_early: bool
    """Whether early stopping ended the run."""
    weights: dict[str, Tensor]
    """State dict of the trained module."""
    ema_weights: dict[str, Tensor] | None
    """State dict of the moving average of the weights."""
    ema_steps: int
    """Number of updates of the moving average."""
    optimizer: StateDict
    precision: StateDict
    """State of Lightning's precision plugin: the gradient scaler of fp16."""

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.metrics)

    @property
    def compute_precision(self) -> str | None:
        """The precision that the run began with, 32, bf16 or fp16; None if the fingerprint has none."""
        return self.fingerprint.get(_PRECISION, "").strip('"') or None

    @property
    def validated_weights(self) -> dict[str, Tensor]:
        """The weights that the last epoch was validated with."""
        return self.weights if self.ema_weights is None else self.ema_weights

    def check_resumable(self, module: nn.Module, *, ema: bool, epochs: int) -> None:
        """Check the state against the run that is resumed.

        Args:
            module: the module to train.
            ema: whether the run has a moving average of the weights.
            epochs: number of epochs of the run, unless it stops early.

        Raises:
            CheckpointMismatchError: a key, type, shape or number differs.
        """
        if self.finished != (self.stopped_early or self.epoch == epochs) or self.epoch > epochs:
            progress = "finished" if self.finished else "not finished"
            raise CheckpointMismatchError(f"it is {progress} after {self.epoch} of {epochs} epochs")
        check_state_dict(self.weights, module, "weights")
        if ema != (self.ema_weights is not None):
            raise CheckpointMismatchError(f"ema_weights is {'missing' if ema else 'present'}, unlike in the recipe")
        if self.ema_weights is not None:
            check_state_dict(self.ema_weights, module, "ema_weights")

    def check_fingerprint(self, fingerprint: Mapping[str, str], path: Path) -> None:
        """Check that the checkpoint at `path` belongs to a run with this fingerprint.

        Raises:
            AssayError: a setting or the labels differ.
        """
        for name in sorted(self.fingerprint.keys() | fingerprint.keys()):
            if self.fingerprint.get(name) != fingerprint.get(name):
                raise AssayError(
                    f"{path} cannot be resumed: {name} differs from when the run began; restore it, or start a new run"
                )


def save_training_state(path: Path, state: TrainingState) -> None:
    """Write `last.ckpt`.

    Raises:
        AssayError: the disk is full, or the folder cannot be written to.
    """
    plain = {field.name: getattr(state, field.name) for field in fields(TrainingState)}
    plain["metrics"] = [asdict(epoch) for epoch in state.metrics]
    plain["step_losses"] = [torch.tensor(losses, dtype=torch.float64) for losses in state.step_losses]
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


def load_best_weights(path: Path, module: nn.Module) -> None:
    """Load the weights of `best.ckpt` into the module.

    Raises:
        AssayError: the file is damaged, or was written by another version of Assay.
    """
    plain = _load(path)
    try:
        check_keys(plain, ["epoch", "weights"], "the checkpoint")
        check_state_dict(plain["weights"], module, "weights")
    except CheckpointMismatchError as error:
        raise _damaged(path, error) from None
    module.load_state_dict(plain["weights"])


def _parse_training_state(plain: dict[str, Any]) -> TrainingState:
    check_keys(plain, [field.name for field in fields(TrainingState)], "the checkpoint")
    for name, kind in _TYPES.items():
        check_type(plain[name], kind, name)
    for name, value in plain["fingerprint"].items():
        check_type(name, str, "a name of fingerprint")
        check_type(value, str, f"{name[:60]} of fingerprint")
    for name, value in plain["precision"].items():
        check_type(value, (int, float), f"{str(name)[:60]} of precision")
    metrics = parse_epoch_metrics(plain["metrics"])
    step_losses = parse_step_losses(plain["step_losses"], len(metrics))
    if not 1 <= plain["best_epoch"] <= len(metrics) or plain["ema_steps"] < 0:
        raise CheckpointMismatchError("best_epoch or ema_steps is out of range")
    return TrainingState(**{**plain, "metrics": metrics, "step_losses": step_losses})


def _damaged(path: Path, error: CheckpointMismatchError) -> AssayError:
    return AssayError(f"{path} cannot be read: {error}; the checkpoint is damaged, start a new run")


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "fingerprint": dict,
    "best_epoch": int,
    "finished": bool,
    "stopped_early": bool,
    "weights": dict,
    "ema_weights": (dict, type(None)),
    "ema_steps": int,
    "optimizer": dict,
    "precision": dict,
}
# What torch.load raises for damaged, truncated, foreign or malicious files.
_TORCH_LOAD_ERRORS = (
    *(OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, LookupError, TypeError),
    *(AttributeError, AssertionError, ArithmeticError, MemoryError, struct.error, zipfile.BadZipFile),
)


def _save(path: Path, plain: dict[str, Any]) -> None:
    try:
        with atomic_write(path) as temporary:
            torch.save(plain, temporary)
    except (OSError, RuntimeError) as error:
        raise AssayError(f"{path} cannot be written: make room on the disk or choose another folder") from error


def _verify_checksums(stream: BinaryIO) -> None:
    """Raise `BadZipFile` unless the CRC-32 of every member is right, which `torch.load` does not check."""
    size = stream.seek(0, os.SEEK_END)
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise zipfile.BadZipFile("torch.save does not compress")
        # Members that share bytes could otherwise take any time to read.
        if sum(member.file_size for member in members) > size or archive.testzip() is not None:
            raise zipfile.BadZipFile("a checksum is wrong")
    stream.seek(0)


def _load(path: Path) -> dict[str, Any]:
    try:
        with open_file(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickles, which are refused just below
            _verify_checksums(stream)
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
