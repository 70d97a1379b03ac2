"""`fit`: train a network, or resume its training, and keep the weights of the best epoch."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.nets import Classifier
from assay.recipe import Recipe, TrainSpec
from assay.training.callbacks import (
    CheckpointCallback,
    EMACallback,
    Profile,
    ProfilerCallback,
    ProgressCallback,
    TensorBoardWriter,
    make_early_stopping,
)
from assay.training.checkpoint import (
    TrainingState,
    load_best_weights,
    load_training_state,
    run_fingerprint,
    save_best_weights,
)
from assay.training.checkpoint_validation import CheckpointMismatchError
from assay.training.curves import plot_learning_curves
from assay.training.dataloaders import (
    Batch,
    LabeledImages,
    check_batch_norm,
    check_split,
    eval_dataloader,
    loss_weights,
    make_augmentation,
    train_dataloader,
    worker_death_message,
)
from assay.training.device import Device, deterministic_algorithms, select_device, torch_threads
from assay.training.feature_extraction import SplitEmbeddings, eager_embedder, embed_splits, uses_cached_embeddings
from assay.training.history import EpochListener, History, RunLog, format_epoch, write_metrics, write_step_losses
from assay.training.lightning_module import ClassifierModule, make_trainer, quiet_lightning, raise_on_interrupt
from assay.training.schedule import ReduceOnPlateau, TrainingSchedule, make_plateau

BatchLoader = DataLoader[Batch | AssayError]


def fit(
    network: Classifier,
    recipe: Recipe,
    train: LabeledImages,
    val: LabeledImages,
    *,
    run: Path,
    resume: bool = False,
    embedded: Callable[[], SplitEmbeddings] | None = None,
    progress: Progress = no_progress,
    on_epoch: EpochListener | None = None,
    profile: Profile | None = None,
) -> History:
    """Train a network in place; it ends with the weights of the best epoch, in evaluation mode on the CPU.

    The best epoch has the best value of early stopping's metric, or the lowest validation loss without early
    stopping.

    The same network, recipe and images give the same weights on the same machine, bit for bit, for any number
    of worker processes and however often the run was killed and resumed. A run writes
    `checkpoints/best.ckpt`, `checkpoints/last.ckpt`, `metrics.csv` (one row per epoch), `steps.csv` (one row
    per step), `training.log`, `curves.png`, and `tensorboard/` on request.

    With the strategy `probe` and either no augmentation or a fixed number of views, every image goes through
    the backbone once and the head is trained on the embeddings; the checkpoints then contain only the head.

    Args:
        network: with the initial weights; the same ones again when a run is resumed.
        recipe: its preprocessing, augmentation and training settings are used.
        train: training images, at `preprocess.size` × `augment.input_scale`.
        val: validation images, at the network's input size.
        run: folder of the run.
        resume: continue after the last finished epoch of the run in the folder, or start if there is none.
        embedded: returns the embeddings of both splits, if the head is trained on embeddings and the run is
            not finished; none: `network` computes them.
        progress: called after every batch.
        on_epoch: called after every epoch of this session, once its checkpoint is written.
        profile: accumulates the time of every phase; none: no profiling.

    Raises:
        AssayError: a split is empty, an image cannot be read, the loss is not finite, the device has too
            little memory, or the checkpoint to resume from is damaged or belongs to another run.
        UsageError: the recipe requests a device that is not available, freezes more stages than there are,
            or gives batch norm in the head a single image.
        InterruptionError: Ctrl-C or a termination signal.
    """
    classes = network.head.fc.out_features
    check_split("training", train, classes)
    check_split("validation", val, classes)
    check_batch_norm(recipe, len(train.targets))
    log = RunLog(run / "training.log")
    session = _TrainingRun(network, recipe, train, val, run, select_device(recipe.train), log, profile)
    settings = run_fingerprint(recipe, train, val)
    try:
        with raise_on_interrupt(run), quiet_lightning(), deterministic_algorithms(session.device):
            last = session.begin(settings, resume=resume)
            if last is None or not last.finished:
                last = session.train(settings, last, embedded, progress, on_epoch)
            return session.finish(last)
    except AssayError as error:
        session.log.write(f"stopped: {error}")
        raise
    except CheckpointMismatchError as error:
        session.log.write(f"stopped: {error}")
        last_file = session.checkpoints / "last.ckpt"
        raise AssayError(
            f"{last_file} cannot be resumed: {error}; the checkpoint is damaged, start a new run"
        ) from None
    except RuntimeError as error:
        if (died := worker_death_message(error)) is not None:
            session.log.write(f"stopped: {error}")
            raise AssayError(died) from error
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        session.log.write("stopped: out of memory")
        raise AssayError(
            f"train.batch_size is {recipe.train.batch_size}, for which the {session.device.kind} device has"
            " too little memory; halve it, or choose a smaller preprocess.size or net.name"
        ) from error


@dataclass
class _TrainingRun:
    """One call of `fit`: a new run, or a resumed one."""

    network: Classifier
    recipe: Recipe
    train_split: LabeledImages
    val_split: LabeledImages
    run: Path
    device: Device
    log: RunLog
    profile: Profile | None

    @property
    def checkpoints(self) -> Path:
        """Folder of `best.ckpt` and `last.ckpt`."""
        return self.run / "checkpoints"

    @property
    def on_features(self) -> bool:
        """Whether the head is trained on cached embeddings."""
        return uses_cached_embeddings(self.recipe)

    @property
    def subject(self) -> nn.Module:
        """The module whose weights the checkpoints contain."""
        return self.network.head if self.on_features else self.network

    def begin(self, settings: dict[str, str], *, resume: bool) -> TrainingState | None:
        """Load the last checkpoint of the run, or remove those of an earlier run in the folder."""
        last = self.checkpoints / "last.ckpt"
        if not resume:
            for name in ("last.ckpt", "best.ckpt"):
                (self.checkpoints / name).unlink(missing_ok=True)
        if not last.exists() and not last.is_symlink():
            self.log.write(f"started: {self._describe()}")
            self.log.write(f"settings: {self.recipe.train.model_dump_json()}")
            return None
        since = load_training_state(last)
        since.require(settings, last)
        spec, plateau = self.recipe.train, make_plateau(self.recipe.train)
        stopping = make_early_stopping(spec, None)
        since.require_fit(
            self.subject,
            None if stopping is None else stopping.state_dict(),
            None if plateau is None else asdict(plateau),
            averaged=spec.ema_decay is not None,
            epochs=spec.epochs,
        )
        self.subject.load_state_dict(since.weights)
        if since.best_epoch == since.epoch:
            # If the process was killed between writing the two files of an epoch, best.ckpt is an older one.
            save_best_weights(self.checkpoints / "best.ckpt", since.evaluated, since.epoch)
        self._write_tables(since)
        self.log.write(f"resumed after epoch {since.epoch}: {self._describe()}")
        return since

    def train(
        self,
        settings: dict[str, str],
        since: TrainingState | None,
        embedded: Callable[[], SplitEmbeddings] | None,
        progress: Progress,
        on_epoch: EpochListener | None,
    ) -> TrainingState:
        """Run the remaining epochs."""
        spec = self.recipe.train
        done = since.epoch if since else 0
        self.network.lay_out(self.network.memory_format)
        loaders = self._loaders(done, embedded, progress)
        plateau = ReduceOnPlateau(**since.plateau) if since and since.plateau else make_plateau(spec)
        learner = ClassifierModule(
            self.network,
            TrainingSchedule(spec, len(loaders[0]), plateau),
            on_features=self.on_features,
            class_weights=loss_weights(self.network.head, spec, self.train_split),
            first_epoch=done,
            optimizer_state=since.optimizer if since else None,
        )
        board = TensorBoardWriter(self.run / "tensorboard", done) if spec.tensorboard else None
        snapshots: list[TrainingState] = []

        def on_snapshot(snapshot: TrainingState) -> None:
            snapshots[:] = [snapshot]
            self._tell(snapshot, board, on_epoch)

        averaging = _make_ema_callback(spec, since)
        stopping = make_early_stopping(spec, since.stopping if since else None)
        keeper = CheckpointCallback(
            self.checkpoints,
            settings,
            averaging=averaging,
            stopping=stopping,
            since=since,
            on_snapshot=on_snapshot,
        )
        profiler = None if self.profile is None else ProfilerCallback(self.profile)
        callbacks = [each for each in (profiler, averaging, stopping, keeper, ProgressCallback(progress)) if each]
        trainer = make_trainer(spec, self.device, callbacks, epochs=spec.epochs - done, run=self.run)
        try:
            with torch_threads(1) if self.on_features else nullcontext():
                trainer.fit(learner, *loaders)
        finally:
            if board is not None:
                board.close()
        return snapshots[0]

    def finish(self, last: TrainingState) -> History:
        """Load the best weights into the network and plot the learning curves."""
        load_best_weights(self.checkpoints / "best.ckpt", self.subject)
        self.network.freeze(0)
        self.network.lay_out(torch.contiguous_format)
        self.network.cpu().eval()
        plot_learning_curves(self.run / "curves.png", last.rows, last.losses, last.best_epoch)
        end = "stopped early" if last.stopped_early else "finished"
        self.log.write(f"{end} after epoch {last.epoch}; kept the weights of epoch {last.best_epoch}")
        seconds = sum(row.seconds for row in last.rows)
        return History(last.rows, last.best_epoch, last.stopped_early, seconds)

    def _loaders(
        self, done: int, embedded: Callable[[], SplitEmbeddings] | None, progress: Progress
    ) -> tuple[BatchLoader, BatchLoader]:
        found = None
        if self.on_features:
            with nullcontext() if self.profile is None else self.profile.during("embeddings"):
                found = self._embed(progress) if embedded is None else embedded()
        pin = self.device.kind == "cuda"
        return (
            train_dataloader(
                self.train_split,
                make_augmentation(self.recipe),
                self.recipe,
                features=None if found is None else found.train,
                first_epoch=done,
                pin_memory=pin,
                clock=None if self.profile is None else self.profile.workers,
            ),
            eval_dataloader(
                self.val_split,
                None,
                self.recipe,
                features=None if found is None else found.val[np.newaxis],
                pin_memory=pin,
            ),
        )

    def _embed(self, progress: Progress) -> SplitEmbeddings:
        compute = eager_embedder(self.network, self.device.torch)
        return embed_splits(self.recipe, self.train_split, self.val_split, compute, progress)

    def _tell(self, snapshot: TrainingState, board: TensorBoardWriter | None, on_epoch: EpochListener | None) -> None:
        row = snapshot.rows[-1]
        self._write_tables(snapshot)
        self.log.write(format_epoch(row, self.recipe.train.epochs))
        if board is not None:
            board.write(row)
        if on_epoch is not None:
            on_epoch(row)

    def _write_tables(self, snapshot: TrainingState) -> None:
        write_metrics(self.run / "metrics.csv", snapshot.rows)
        write_step_losses(self.run / "steps.csv", snapshot.losses)

    def _describe(self) -> str:
        return (
            f"strategy {self.recipe.train.strategy}, {len(self.train_split.targets)} training and"
            f" {len(self.val_split.targets)} validation photos, device {self.device.kind},"
            f" precision {self.device.precision}, torch {torch.__version__},"
            f" {torch.get_num_threads()} threads"
        )


def _make_ema_callback(spec: TrainSpec, since: TrainingState | None) -> EMACallback | None:
    if spec.ema_decay is None:
        return None
    return EMACallback(spec.ema_decay, since.average, since.average_steps) if since else EMACallback(spec.ema_decay)
