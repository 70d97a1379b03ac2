"""What happens beside learning: averaging, early stopping, checkpoints, files of the run, progress.

Each callback does one of them, by Lightning's hooks. Knows nothing of how a batch is made or a loss computed.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping

from assay.errors import AssayError
from assay.progress import Progress
from assay.recipe import TrainSpec
from assay.training.checkpoint import Snapshot, save_best, save_snapshot
from assay.training.ema import MovingAverage
from assay.training.history import EpochRow, best_of, score
from assay.training.module import Learner

_HEAD = "training the head"


def learner_of(module: LightningModule) -> Learner:
    """Return the module as the learner that it is."""
    if not isinstance(module, Learner):
        raise TypeError(f"these callbacks work for a Learner, not {type(module).__name__}")
    return module


class Averaging(Callback):
    """Follows the weights by their moving average, and validates that."""

    def __init__(self, decay: float, state: Mapping[str, torch.Tensor] | None = None, steps: int = 0) -> None:
        """Begin with the learner's weights, or take up the state of an average after some steps."""
        self._decay = decay
        self._state = state
        self._steps = steps
        self.average: MovingAverage | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, now that the weights are on their device."""
        del trainer
        self.average = MovingAverage(learner_of(pl_module).subject, self._decay)
        if self._state is not None:
            self.average.load(self._state, self._steps)

    def on_train_batch_end(self, *_: Any) -> None:
        """Take in the weights after a step."""
        self._begun.update()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        del trainer, pl_module
        self._begun.swap()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the weights themselves."""
        del trainer, pl_module
        self._begun.swap()

    @property
    def _begun(self) -> MovingAverage:
        if self.average is None:
            raise RuntimeError("averaging begins with training")
        return self.average


class EarlyStopping(LightningEarlyStopping):
    """Lightning's, except that it does not watch the first stage of `staged`."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count this epoch, unless the head is still being warmed up."""
        learner = learner_of(pl_module)
        if not learner.schedule.warming_head(learner.epoch):
            super().on_train_epoch_end(trainer, pl_module)


def early_stopping(spec: TrainSpec, state: Mapping[str, Any] | None) -> EarlyStopping | None:
    """Make the callback of a recipe, none if the recipe has none, and give it its state back."""
    if spec.early_stopping is None:
        return None
    callback = EarlyStopping(
        spec.early_stopping.metric,
        min_delta=spec.early_stopping.min_delta,
        patience=spec.early_stopping.patience,
        mode="max" if spec.early_stopping.metric == "val_accuracy" else "min",
        check_finite=False,
        check_on_train_epoch_end=True,
    )
    if state is not None:
        callback.load_state_dict(dict(state))
    return callback


class Keeper(Checkpoint):
    """Makes the row and the checkpoints of an epoch. Lightning runs it after every other callback."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, str],
        *,
        averaging: Averaging | None,
        stopping: EarlyStopping | None,
        since: Snapshot | None,
        on_snapshot: Callable[[Snapshot], None],
    ) -> None:
        """Begin, or go on from a snapshot.

        Args:
            folder: of `best.ckpt` and `last.ckpt`.
            settings: what the run depends on.
            averaging: the moving average, if there is one.
            stopping: early stopping, if there is one.
            since: the snapshot that the run goes on from.
            on_snapshot: called when an epoch's checkpoints are on the disk.
        """
        self._folder = folder
        self._settings = settings
        self._averaging = averaging
        self._stopping = stopping
        self._on_snapshot = on_snapshot
        self._precision = since.precision if since else None
        self._began = 0.0
        self.rows = since.rows if since else ()
        self.losses = since.losses if since else ()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the gradient scaler of fp16 its state back."""
        del pl_module
        if self._precision:
            trainer.precision_plugin.load_state_dict(dict(self._precision))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `last.ckpt`, then `best.ckpt` if this epoch is the best.

        In this order a kill between the two loses nothing: the weights of the best epoch are then those of
        `last.ckpt`.
        """
        learner = learner_of(pl_module)
        spec = learner.schedule.spec
        row = self._row(trainer, learner)
        self.rows = (*self.rows, row)
        self.losses = (*self.losses, tuple(learner.train_meter.losses().tolist()))
        if learner.schedule.plateau is not None and not learner.schedule.warming_head(learner.epoch):
            learner.schedule.plateau.update(score(row, spec)[0])
        snapshot = self._snapshot(trainer, learner, best_of(self.rows, spec).epoch)
        save_snapshot(self._folder / "last.ckpt", snapshot)
        if snapshot.best_epoch == snapshot.epoch:
            save_best(self._folder / "best.ckpt", snapshot.evaluated, snapshot.epoch)
        self._on_snapshot(snapshot)

    def _row(self, trainer: Trainer, learner: Learner) -> EpochRow:
        train_loss, train_accuracy = learner.train_meter.means()
        return EpochRow(
            epoch=learner.epoch + 1,
            train_loss=float(train_loss),
            train_accuracy=float(train_accuracy),
            val_loss=float(trainer.callback_metrics["val_loss"]),
            val_accuracy=float(trainer.callback_metrics["val_accuracy"]),
            lr=learner.rate,
            seconds=time.perf_counter() - self._began,
        )

    def _snapshot(self, trainer: Trainer, learner: Learner, best_epoch: int) -> Snapshot:
        average = self._averaging.average if self._averaging else None
        plateau = learner.schedule.plateau
        over = len(self.rows) >= learner.schedule.spec.epochs
        return Snapshot(
            settings=self._settings,
            rows=self.rows,
            losses=self.losses,
            best_epoch=best_epoch,
            finished=over or trainer.should_stop,
            stopped_early=trainer.should_stop and not over,
            weights=dict(learner.subject.state_dict()),
            average=average.state() if average else None,
            average_steps=average.steps if average else 0,
            optimizer=trainer.optimizers[0].state_dict(),
            precision=trainer.precision_plugin.state_dict(),
            stopping=self._stopping.state_dict() if self._stopping else None,
            plateau=asdict(plateau) if plateau else None,
        )


class ProgressReport(Callback):
    """Tells after every batch how far an epoch is, validation included.

    Of a head that learns from embeddings it tells after every epoch how far training is: a single epoch is
    too quick to be told.
    """

    def __init__(self, progress: Progress) -> None:
        """Hold whom to tell."""
        self._progress = progress
        self._done = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        del trainer, pl_module
        self._done = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count an epoch of a head."""
        del trainer
        learner = learner_of(pl_module)
        if learner.on_features:
            self._progress(_HEAD, learner.epoch + 1, learner.schedule.spec.epochs)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that a head has learnt, also if it stopped early."""
        del trainer
        learner = learner_of(pl_module)
        if learner.on_features:
            epochs = learner.schedule.spec.epochs
            self._progress(_HEAD, epochs, epochs)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count a training batch."""
        self._advance(trainer, learner_of(pl_module))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count a validation batch."""
        self._advance(trainer, learner_of(pl_module))

    def _advance(self, trainer: Trainer, learner: Learner) -> None:
        if learner.on_features:
            return
        self._done += 1
        total = int(trainer.num_training_batches) + int(sum(trainer.num_val_batches))
        self._progress(f"epoch {learner.epoch + 1}/{learner.schedule.spec.epochs}", self._done, total)


class TensorBoard:
    """Writes the rows of a run as TensorBoard events."""

    def __init__(self, folder: Path, epochs: int) -> None:
        """Open the events.

        Args:
            folder: where the event files go.
            epochs: how many epochs are in there already; what a killed session wrote after them is dropped.

        Raises:
            AssayError: the package `tensorboard` is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional package
        except ImportError as error:
            raise AssayError(
                "train.tensorboard is true, but tensorboard is not installed: pip install tensorboard"
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=epochs + 1)

    def write(self, row: EpochRow) -> None:
        """Write the figures of an epoch."""
        for name, value in asdict(row).items():
            if name != "epoch":
                self._writer.add_scalar(name.replace("_", "/", 1), value, row.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the events."""
        self._writer.close()
