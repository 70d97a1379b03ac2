"""One training run in a folder: loaders, callbacks, checkpoints and tables, from the first epoch or a later one on."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.core.text_layout import counted
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training.callbacks import (
    CheckpointCallback,
    EMACallback,
    Profile,
    ProfilerCallback,
    ProgressCallback,
    TensorBoardWriter,
)
from assay.training.checkpoint import (
    TrainingState,
    load_best_weights,
    load_training_state,
    run_fingerprint,
    save_best_weights,
)
from assay.training.curves import plot_learning_curves
from assay.training.dataloaders import Batch, LabeledImages, eval_dataloader, make_augmentation, train_dataloader
from assay.training.device import Device, deterministic_algorithms, torch_threads
from assay.training.distributed import ProcessGroup
from assay.training.feature_extraction import SplitEmbeddings, eager_embedder, embed_splits, uses_cached_embeddings
from assay.training.heap import reuse_freed_memory
from assay.training.history import (
    METRICS_FILE,
    EpochListener,
    History,
    RunLog,
    format_epoch,
    write_metrics,
    write_step_losses,
)
from assay.training.lightning_module import ClassifierModule
from assay.training.lightning_trainer import make_trainer, quiet_lightning
from assay.training.loss import loss_weights
from assay.training.sampling import BatchSampler
from assay.training.synchronized_batch_norm import restore_batch_norm, synchronize_batch_norm
from assay.training.training_schedule import TrainingSchedule

BatchLoader = DataLoader[Batch | AssayError]


@dataclass
class TrainingRun:
    """One call of `fit`: a new run, or a resumed one."""

    network: ClassifierNetwork
    recipe: Recipe
    train_split: LabeledImages
    val_split: LabeledImages
    folder: Path
    device: Device
    log: RunLog
    profile: Profile | None

    def __post_init__(self) -> None:
        self.spec = self.recipe.train
        self.on_embeddings = uses_cached_embeddings(self.recipe)
        # The module whose weights the checkpoints contain.
        self.trained_module: nn.Module = self.network.head if self.on_embeddings else self.network
        self.last_checkpoint = self.folder / "checkpoints" / "last.ckpt"
        self.best_checkpoint = self.folder / "checkpoints" / "best.ckpt"

    def clear(self) -> None:
        """Remove the checkpoints of an earlier run in the folder."""
        self.last_checkpoint.unlink(missing_ok=True)
        self.best_checkpoint.unlink(missing_ok=True)

    def fingerprint(self) -> dict[str, str]:
        """Return the settings of the run, by which a checkpoint is recognized as its own."""
        return run_fingerprint(self.recipe, self.train_split, self.val_split, self.device.precision)

    def resume(self) -> TrainingState | None:
        """Load the last checkpoint of the run; None if it has none yet."""
        if not self.last_checkpoint.exists() and not self.last_checkpoint.is_symlink():
            self.log.write(f"started: {self._describe()}")
            self.log.write(f"settings: {self.spec.model_dump_json()}")
            return None
        state = load_training_state(self.last_checkpoint)
        if self.spec.precision == "auto" and not self.on_embeddings:
            # Another machine continues in the precision that the run began with.
            self.device = self.device.with_precision(state.compute_precision)
        state.check_fingerprint(self.fingerprint(), self.last_checkpoint)
        state.check_resumable(self.trained_module, ema=self.spec.ema_decay is not None, epochs=self.spec.epochs)
        self.trained_module.load_state_dict(state.weights)
        if state.best_epoch == state.epoch:
            # If the process was killed between writing the two files of an epoch, best.ckpt is an older one.
            save_best_weights(self.best_checkpoint, state.validated_weights, state.epoch)
        self._write_tables(state)
        self.log.write(f"resumed after epoch {state.epoch}: {self._describe()}")
        return state

    def train(
        self,
        resumed: TrainingState | None,
        embeddings: Callable[[], SplitEmbeddings] | None,
        progress: Progress,
        on_epoch: EpochListener | None,
        group: ProcessGroup,
    ) -> TrainingState:
        """Run the remaining epochs, as one process of the group."""
        spec = self.spec
        first_epoch = resumed.epoch if resumed else 0
        self.network.set_memory_format(self.network.memory_format)
        loaders = self._loaders(first_epoch, embeddings, progress, group)
        synchronize_batch_norm(self.network, group)
        module = ClassifierModule(
            self.network,
            TrainingSchedule(spec, len(loaders[0]), resumed.metrics if resumed else ()),
            on_embeddings=self.on_embeddings,
            class_weights=loss_weights(spec, self.train_split.targets, self.network.head.fc.out_features),
            first_epoch=first_epoch,
            group=group,
            batch_sizes=(_batch_sizes(loaders[0]), _batch_sizes(loaders[1])),
            optimizer_state=resumed.optimizer if resumed else None,
        )
        writes = group.rank == 0
        tensorboard = None
        if spec.tensorboard and writes:
            tensorboard = TensorBoardWriter(self.folder / "tensorboard", first_epoch)

        def on_checkpoint(state: TrainingState) -> None:
            metrics = state.metrics[-1]
            self._write_tables(state)
            self.log.write(format_epoch(metrics, spec.epochs))
            if tensorboard is not None:
                tensorboard.write(metrics)
            if on_epoch is not None:
                on_epoch(metrics)

        ema = None
        if spec.ema_decay is not None:
            ema = EMACallback(
                spec.ema_decay, resumed.ema_weights if resumed else None, resumed.ema_steps if resumed else 0
            )
        profiler = None if self.profile is None else ProfilerCallback(self.profile)
        checkpoints = CheckpointCallback(
            self.last_checkpoint.parent,
            self.fingerprint(),
            ema=ema,
            resumed=resumed,
            on_checkpoint=on_checkpoint,
            writes=writes,
        )
        callbacks = [callback for callback in (profiler, ema, checkpoints, ProgressCallback(progress)) if callback]
        trainer = make_trainer(
            spec, self.device, callbacks, epochs=spec.epochs - first_epoch, run=self.folder, group=group
        )
        try:
            with torch_threads(1) if self.on_embeddings else reuse_freed_memory():
                trainer.fit(module, *loaders)
        finally:
            restore_batch_norm(self.network)
            if tensorboard is not None:
                tensorboard.close()
        if checkpoints.state is None:
            raise RuntimeError("training ended without a checkpoint")
        return checkpoints.state

    def finish(self, state: TrainingState) -> History:
        """Load the best weights into the network and plot the learning curves."""
        load_best_weights(self.best_checkpoint, self.trained_module)
        self.network.freeze(0)
        self.network.set_memory_format(torch.contiguous_format)
        self.network.cpu().eval()
        plot_learning_curves(self.folder / "curves.png", state.metrics, state.step_losses, state.best_epoch)
        end = "stopped early" if state.stopped_early else "finished"
        self.log.write(f"{end} after epoch {state.epoch}; kept the weights of epoch {state.best_epoch}")
        seconds = sum(metrics.seconds for metrics in state.metrics)
        return History(state.metrics, state.best_epoch, state.stopped_early, seconds)

    def _loaders(
        self,
        first_epoch: int,
        embeddings: Callable[[], SplitEmbeddings] | None,
        progress: Progress,
        group: ProcessGroup,
    ) -> tuple[BatchLoader, BatchLoader]:
        cached = None
        if self.on_embeddings:
            with nullcontext() if self.profile is None else self.profile.during("embeddings"):
                if embeddings is None:
                    embed = eager_embedder(self.network, self.device.torch)
                    cached = embed_splits(self.recipe, self.train_split, self.val_split, embed, progress)
                else:
                    cached = embeddings()
        pin_memory = self.device.kind == "cuda"
        return (
            train_dataloader(
                self.train_split,
                make_augmentation(self.recipe),
                self.recipe,
                embeddings=None if cached is None else cached.train,
                first_epoch=first_epoch,
                pin_memory=pin_memory,
                timer=None if self.profile is None else self.profile.workers,
                group=group,
            ),
            eval_dataloader(
                self.val_split,
                None,
                self.recipe,
                embeddings=None if cached is None else cached.val[np.newaxis],
                pin_memory=pin_memory,
                group=group,
            ),
        )

    def _write_tables(self, state: TrainingState) -> None:
        write_metrics(self.folder / METRICS_FILE, state.metrics)
        write_step_losses(self.folder / "steps.csv", state.step_losses)

    def _describe(self) -> str:
        return (
            f"strategy {self.spec.strategy}, {len(self.train_split.targets)} training and"
            f" {counted(len(self.val_split.targets), 'validation photo')}, device {self.device.kind},"
            f" precision {self.device.precision}, torch {torch.__version__},"
            f" {counted(torch.get_num_threads(), 'thread')}"
        )


def _batch_sizes(loader: BatchLoader) -> list[int]:
    batches = loader.batch_sampler
    if not isinstance(batches, BatchSampler):
        raise TypeError(f"batches are formed by a {BatchSampler.__name__}, not a {type(batches).__name__}")
    return batches.sizes()


def train_in_process(group: ProcessGroup, training: TrainingRun, state: TrainingState | None) -> None:
    """Train as one of several processes; it writes no files."""
    with quiet_lightning(), deterministic_algorithms(training.device):
        training.train(state, None, no_progress, None, group)
