"""Lightning callbacks: checkpoints, early stopping, moving average of weights, progress and profiling.

The TensorBoard writer.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping

from assay.core.errors import AssayError
from assay.core.progress import Progress
from assay.recipe import TrainSpec
from assay.training.checkpoint import TrainingState, save_best_weights, save_training_state
from assay.training.history import EpochMetrics, best_epoch_of, epoch_score
from assay.training.lightning_module import ClassifierModule
from assay.training.optimizers import ExponentialMovingAverage

_HEAD_TASK = "training the head"


def as_classifier_module(module: LightningModule) -> ClassifierModule:
    """Narrow the type of the module that Lightning passes to a callback."""
    if not isinstance(module, ClassifierModule):
        raise TypeError(f"these callbacks need a {ClassifierModule.__name__}, not a {type(module).__name__}")
    return module


class EMACallback(Callback):
    """Maintains the exponential moving average of the weights; validation runs on the average.

    Args:
        decay: of the average.
        state: averaged tensors to resume from; none: the network's weights at the start of training.
        steps: number of updates that `state` has seen.
    """

    def __init__(self, decay: float, state: Mapping[str, torch.Tensor] | None = None, steps: int = 0) -> None:
        self._decay = decay
        self._state = state
        self._steps = steps
        self.average: ExponentialMovingAverage | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the average, now that the weights are on their device."""
        del trainer
        self.average = ExponentialMovingAverage(as_classifier_module(pl_module).subject, self._decay)
        if self._state is not None:
            self.average.load(self._state, self._steps)

    def on_train_batch_end(self, *_: Any) -> None:
        """Update the average after an optimizer step."""
        self._begun.update()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the average in."""
        del trainer, pl_module
        self._begun.swap()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the trained weights back in."""
        del trainer, pl_module
        self._begun.swap()

    @property
    def _begun(self) -> ExponentialMovingAverage:
        if self.average is None:
            raise RuntimeError("the moving average exists only once training has started")
        return self.average


class EarlyStoppingCallback(LightningEarlyStopping):
    """Lightning's early stopping, which ignores the first stage of the strategy `staged`."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the metric, unless the head is still being trained alone."""
        learner = as_classifier_module(pl_module)
        if not learner.schedule.warming_head(learner.epoch):
            super().on_train_epoch_end(trainer, pl_module)


def make_early_stopping(spec: TrainSpec, state: Mapping[str, Any] | None) -> EarlyStoppingCallback | None:
    """Return the callback of a recipe, restored to `state`; None without early stopping."""
    if spec.early_stopping is None:
        return None
    callback = EarlyStoppingCallback(
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


class CheckpointCallback(Checkpoint):
    """Writes the checkpoints of every epoch and collects its metrics.

    Lightning runs `Checkpoint` callbacks after all others.

    Args:
        folder: of `best.ckpt` and `last.ckpt`.
        settings: fingerprint of the run, stored in the checkpoint.
        averaging: the callback of the moving average, if there is one.
        stopping: the callback of early stopping, if there is one.
        since: the checkpoint that the run resumes from.
        on_snapshot: called once the checkpoints of an epoch are written.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, str],
        *,
        averaging: EMACallback | None,
        stopping: EarlyStoppingCallback | None,
        since: TrainingState | None,
        on_snapshot: Callable[[TrainingState], None],
    ) -> None:
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
        """Restore the state of fp16's gradient scaler."""
        del pl_module
        if self._precision:
            trainer.precision_plugin.load_state_dict(dict(self._precision))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the start time."""
        del trainer, pl_module
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `last.ckpt`, then `best.ckpt` if this epoch is the best.

        In this order nothing is lost if the process is killed between the two: the weights of the best epoch
        are then those of `last.ckpt`.
        """
        learner = as_classifier_module(pl_module)
        spec = learner.schedule.spec
        row = self._row(trainer, learner)
        self.rows = (*self.rows, row)
        self.losses = (*self.losses, tuple(learner.train_meter.losses().tolist()))
        if learner.schedule.plateau is not None and not learner.schedule.warming_head(learner.epoch):
            learner.schedule.plateau.update(epoch_score(row, spec)[0])
        snapshot = self._snapshot(trainer, learner, best_epoch_of(self.rows, spec).epoch)
        save_training_state(self._folder / "last.ckpt", snapshot)
        if snapshot.best_epoch == snapshot.epoch:
            save_best_weights(self._folder / "best.ckpt", snapshot.evaluated, snapshot.epoch)
        self._on_snapshot(snapshot)

    def _row(self, trainer: Trainer, learner: ClassifierModule) -> EpochMetrics:
        train_loss, train_accuracy = learner.train_meter.means()
        return EpochMetrics(
            epoch=learner.epoch + 1,
            train_loss=float(train_loss),
            train_accuracy=float(train_accuracy),
            val_loss=float(trainer.callback_metrics["val_loss"]),
            val_accuracy=float(trainer.callback_metrics["val_accuracy"]),
            lr=learner.rate,
            seconds=time.perf_counter() - self._began,
        )

    def _snapshot(self, trainer: Trainer, learner: ClassifierModule, best_epoch: int) -> TrainingState:
        average = self._averaging.average if self._averaging else None
        plateau = learner.schedule.plateau
        over = len(self.rows) >= learner.schedule.spec.epochs
        return TrainingState(
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


class ProgressCallback(Callback):
    """Reports progress after every batch, validation included.

    A head that is trained on cached embeddings reports after every epoch: its batches are too fast.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the count of batches."""
        del trainer, pl_module
        self._done = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report an epoch of a head."""
        del trainer
        learner = as_classifier_module(pl_module)
        if learner.on_features:
            self._progress(_HEAD_TASK, learner.epoch + 1, learner.schedule.spec.epochs)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report that a head is trained, also after early stopping."""
        del trainer
        learner = as_classifier_module(pl_module)
        if learner.on_features:
            epochs = learner.schedule.spec.epochs
            self._progress(_HEAD_TASK, epochs, epochs)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count a training batch."""
        self._advance(trainer, as_classifier_module(pl_module))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count a validation batch."""
        self._advance(trainer, as_classifier_module(pl_module))

    def _advance(self, trainer: Trainer, learner: ClassifierModule) -> None:
        if learner.on_features:
            return
        self._done += 1
        total = int(trainer.num_training_batches) + int(sum(trainer.num_val_batches))
        self._progress(f"epoch {learner.epoch + 1}/{learner.schedule.spec.epochs}", self._done, total)


class TensorBoardWriter:
    """Writes the metrics of every epoch as TensorBoard events.

    Args:
        folder: of the event files.
        epochs: number of epochs that a resumed run keeps; events after them are purged.

    Raises:
        AssayError: the package `tensorboard` is not installed.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional package
        except ImportError as error:
            raise AssayError(
                "train.tensorboard is true, but tensorboard is not installed: pip install tensorboard"
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=epochs + 1)

    def write(self, row: EpochMetrics) -> None:
        """Write the metrics of an epoch."""
        for name, value in asdict(row).items():
            if name != "epoch":
                self._writer.add_scalar(name.replace("_", "/", 1), value, row.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


DATA_WAIT, FORWARD, BACKWARD = "waiting for photos", "forward and loss", "backward"
OPTIMISER, VALIDATION, CHECKPOINTING = "optimiser", "validation", "checkpoints and tables"
READING, AUGMENTING = "reading and decoding", "augmentation"
_WORKER_STAGES = (READING, AUGMENTING)


class WorkerTimer:
    """Total seconds that worker processes spent per stage, in shared memory. Create it before the workers."""

    def __init__(self) -> None:
        self._seconds = get_context().Array("d", len(_WORKER_STAGES))

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to the stage `READING` or `AUGMENTING`."""
        with self._seconds.get_lock():
            self._seconds[_WORKER_STAGES.index(name)] += seconds

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every stage."""
        return {name: float(self._seconds[place]) for place, name in enumerate(_WORKER_STAGES)}


class Profile:
    """Total seconds of a run by phase.

    A profiled run synchronizes with the GPU at the end of every phase: the proportions are right, but the run
    is slower than one that is not profiled.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self.workers = WorkerTimer()

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a phase."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - begin)

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds of this process by phase, in the order in which the phases first occurred."""
        return dict(self._seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"seconds": dict(self._seconds), "preparing_photos": self.workers.seconds()}


class ProfilerCallback(Callback):
    """Adds the time between two of Lightning's hooks to the phase that ends with the second one."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._since = time.perf_counter()

    def _seam(self, name: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._profile.add(name, now - self._since)
        self._since = now

    def on_train_start(self, *_: Any) -> None:
        """Start timing."""
        self._since = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        """End the wait for a batch."""
        self._seam(DATA_WAIT)

    def on_before_zero_grad(self, *_: Any) -> None:
        """End the forward pass."""
        self._seam(FORWARD)

    def on_after_backward(self, *_: Any) -> None:
        """End the backward pass."""
        self._seam(BACKWARD)

    def on_train_batch_end(self, *_: Any) -> None:
        """End the optimizer step."""
        self._seam(OPTIMISER)

    def on_validation_start(self, *_: Any) -> None:
        """End the wait after the last batch of an epoch."""
        self._seam(DATA_WAIT)

    def on_validation_end(self, *_: Any) -> None:
        """End validation."""
        self._seam(VALIDATION)

    def on_train_epoch_start(self, *_: Any) -> None:
        """End the writing of the previous epoch's files."""
        self._seam(CHECKPOINTING)

    def on_train_end(self, *_: Any) -> None:
        """End the writing of the last epoch's files."""
        self._seam(CHECKPOINTING)
