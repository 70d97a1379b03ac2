"""Lightning callbacks (checkpoints, moving average of weights, progress, profiling) and the TensorBoard writer."""

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

from assay.core.errors import AssayError
from assay.core.progress import Progress
from assay.training.checkpoint import TrainingState, save_best_weights, save_training_state
from assay.training.history import EpochMetrics, best_epoch_of
from assay.training.lightning_module import ClassifierModule
from assay.training.weight_average import ExponentialMovingAverage

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
        weights: averaged tensors to resume from; none: the network's weights at the start of training.
        steps: number of updates that `weights` have seen.
    """

    def __init__(self, decay: float, weights: Mapping[str, torch.Tensor] | None = None, steps: int = 0) -> None:
        self._decay = decay
        self._initial_weights = weights
        self._initial_steps = steps
        self._average: ExponentialMovingAverage | None = None

    @property
    def average(self) -> ExponentialMovingAverage:
        """The moving average, which exists once training has started."""
        if self._average is None:
            raise RuntimeError("the moving average exists only once training has started")
        return self._average

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the average, now that the weights are on their device."""
        del trainer
        self._average = ExponentialMovingAverage(as_classifier_module(pl_module).trained_module, self._decay)
        if self._initial_weights is not None:
            self._average.load(self._initial_weights, self._initial_steps)

    def on_train_batch_end(self, *_: Any) -> None:
        """Update the average after an optimizer step."""
        self.average.update()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the average in."""
        del trainer, pl_module
        self.average.swap()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the trained weights back in."""
        del trainer, pl_module
        self.average.swap()


class CheckpointCallback(Checkpoint):
    """Records the metrics of every epoch, applies early stopping and writes the checkpoints.

    Lightning runs `Checkpoint` callbacks after all others.

    Args:
        folder: of `best.ckpt` and `last.ckpt`.
        fingerprint: of the run, stored in the checkpoint.
        ema: the callback of the moving average, if there is one.
        resumed: the state that the run resumes from.
        on_checkpoint: called once the checkpoints of an epoch are written.
        writes: whether this process writes the checkpoints, as one of several does.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: dict[str, str],
        *,
        ema: EMACallback | None,
        resumed: TrainingState | None,
        on_checkpoint: Callable[[TrainingState], None],
        writes: bool = True,
    ) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._ema = ema
        self._on_checkpoint = on_checkpoint
        self._writes = writes
        self._epoch_start = 0.0
        self.state = resumed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the state of fp16's gradient scaler."""
        del pl_module
        if self.state is not None and self.state.precision:
            trainer.precision_plugin.load_state_dict(dict(self.state.precision))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the start time."""
        del trainer, pl_module
        self._epoch_start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `last.ckpt`, then `best.ckpt` if this epoch is the best.

        In this order nothing is lost if the process is killed between the two: the weights of the best epoch
        are then those of `last.ckpt`.
        """
        module = as_classifier_module(pl_module)
        metrics = self._metrics(trainer, module)
        module.schedule.end_epoch(metrics)
        trainer.should_stop = trainer.should_stop or module.schedule.stops_early
        self.state = state = self._training_state(trainer, module, metrics)
        if not self._writes:
            return
        save_training_state(self._folder / "last.ckpt", state)
        if state.best_epoch == state.epoch:
            save_best_weights(self._folder / "best.ckpt", state.validated_weights, state.epoch)
        self._on_checkpoint(state)

    def _metrics(self, trainer: Trainer, module: ClassifierModule) -> EpochMetrics:
        train_loss, train_accuracy = module.train_metrics.means()
        return EpochMetrics(
            epoch=module.epoch + 1,
            train_loss=float(train_loss),
            train_accuracy=float(train_accuracy),
            val_loss=float(trainer.callback_metrics["val_loss"]),
            val_accuracy=float(trainer.callback_metrics["val_accuracy"]),
            lr=module.learning_rate,
            seconds=time.perf_counter() - self._epoch_start,
        )

    def _training_state(self, trainer: Trainer, module: ClassifierModule, metrics: EpochMetrics) -> TrainingState:
        earlier = self.state
        all_metrics = (*(earlier.metrics if earlier else ()), metrics)
        step_losses = tuple(module.train_metrics.losses().tolist())
        ran_all_epochs = len(all_metrics) >= module.schedule.spec.epochs
        return TrainingState(
            fingerprint=self._fingerprint,
            metrics=all_metrics,
            step_losses=(*(earlier.step_losses if earlier else ()), step_losses),
            best_epoch=best_epoch_of(all_metrics, module.schedule.spec).epoch,
            finished=ran_all_epochs or trainer.should_stop,
            stopped_early=trainer.should_stop and not ran_all_epochs,
            weights=dict(module.trained_module.state_dict()),
            ema_weights=self._ema.average.state() if self._ema else None,
            ema_steps=self._ema.average.steps if self._ema else 0,
            optimizer=trainer.optimizers[0].state_dict(),
            precision=trainer.precision_plugin.state_dict(),
        )


class ProgressCallback(Callback):
    """Reports progress after every batch, validation included.

    A head that is trained on cached embeddings reports after every epoch: its batches are too fast.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._batches_done = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the count of batches."""
        del trainer, pl_module
        self._batches_done = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report an epoch of a head."""
        del trainer
        module = as_classifier_module(pl_module)
        if module.on_embeddings:
            self._progress(_HEAD_TASK, module.epoch + 1, module.schedule.spec.epochs)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report that a head is trained, also after early stopping."""
        del trainer
        module = as_classifier_module(pl_module)
        if module.on_embeddings:
            epochs = module.schedule.spec.epochs
            self._progress(_HEAD_TASK, epochs, epochs)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count a training batch."""
        self._advance(trainer, as_classifier_module(pl_module))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count a validation batch."""
        self._advance(trainer, as_classifier_module(pl_module))

    def _advance(self, trainer: Trainer, module: ClassifierModule) -> None:
        if module.on_embeddings:
            return
        self._batches_done += 1
        total = int(trainer.num_training_batches) + int(sum(trainer.num_val_batches))
        self._progress(f"epoch {module.epoch + 1}/{module.schedule.spec.epochs}", self._batches_done, total)


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

    def write(self, metrics: EpochMetrics) -> None:
        """Write the metrics of an epoch."""
        for name, value in asdict(metrics).items():
            if name != "epoch":
                self._writer.add_scalar(name.replace("_", "/", 1), value, metrics.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


DATA_WAIT, FORWARD, BACKWARD = "waiting for photos", "forward and loss", "backward"
OPTIMIZER, VALIDATION, CHECKPOINTING = "optimizer", "validation", "checkpoints and tables"
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
        self._phase_start = time.perf_counter()

    def _end_phase(self, name: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._profile.add(name, now - self._phase_start)
        self._phase_start = now

    def on_train_start(self, *_: Any) -> None:
        """Start timing."""
        self._phase_start = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        """End the wait for a batch."""
        self._end_phase(DATA_WAIT)

    def on_before_zero_grad(self, *_: Any) -> None:
        """End the forward pass."""
        self._end_phase(FORWARD)

    def on_after_backward(self, *_: Any) -> None:
        """End the backward pass."""
        self._end_phase(BACKWARD)

    def on_train_batch_end(self, *_: Any) -> None:
        """End the optimizer step."""
        self._end_phase(OPTIMIZER)

    def on_validation_start(self, *_: Any) -> None:
        """End the wait after the last batch of an epoch."""
        self._end_phase(DATA_WAIT)

    def on_validation_end(self, *_: Any) -> None:
        """End validation."""
        self._end_phase(VALIDATION)

    def on_train_epoch_start(self, *_: Any) -> None:
        """End the writing of the previous epoch's files."""
        self._end_phase(CHECKPOINTING)

    def on_train_end(self, *_: Any) -> None:
        """End the writing of the last epoch's files."""
        self._end_phase(CHECKPOINTING)
