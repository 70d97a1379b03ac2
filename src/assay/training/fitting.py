"""Finds the weights: puts device, data, learner, callbacks and checkpoints together and keeps the best epoch.

The one place that knows the order of things in a training run; each thing is a module of its own.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from assay.errors import AssayError
from assay.nets import Classifier
from assay.progress import Progress, silent
from assay.recipe import Recipe, TrainSpec
from assay.training.callbacks import Averaging, Keeper, ProgressReport, TensorBoard, early_stopping
from assay.training.checkpoint import Snapshot, load_snapshot, restore_best, save_best
from assay.training.curves import draw_curves
from assay.training.device import Device, choose, deterministic, torch_threads
from assay.training.history import History, OnEpoch, epoch_line, write_metrics, write_steps
from assay.training.identity import identity
from assay.training.loader import Batch, Split, worker_death
from assay.training.log import RunLog
from assay.training.module import Learner
from assay.training.preparation import (
    augmentation,
    check,
    check_batches,
    loss_weights,
    ordered_loader,
    training_loader,
)
from assay.training.probe import Embedded, eager, embed_splits, on_features
from assay.training.profile import Profile, Profiler
from assay.training.resume_check import MisfitError
from assay.training.schedule import Plateau, Schedule, plateau_of
from assay.training.trainer import interruptible, make_trainer, quiet

Loader = DataLoader[Batch | AssayError]


def fit(
    network: Classifier,
    recipe: Recipe,
    train: Split,
    val: Split,
    *,
    run: Path,
    resume: bool = False,
    embedded: Callable[[], Embedded] | None = None,
    progress: Progress = silent,
    on_epoch: OnEpoch | None = None,
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
        train: training images, at the recipe's canvas size.
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
    check("training", train, classes)
    check("validation", val, classes)
    check_batches(recipe, len(train.targets))
    log = RunLog(run / "training.log")
    session = _Session(network, recipe, train, val, run, choose(recipe.train), log, profile)
    settings = identity(recipe, train, val)
    try:
        with interruptible(run), quiet(), deterministic(session.device):
            last = session.begin(settings, resume=resume)
            if last is None or not last.finished:
                last = session.train(settings, last, embedded, progress, on_epoch)
            return session.finish(last)
    except AssayError as error:
        session.log.write(f"stopped: {error}")
        raise
    except MisfitError as error:
        session.log.write(f"stopped: {error}")
        last_file = session.checkpoints / "last.ckpt"
        raise AssayError(
            f"{last_file} cannot be resumed: {error}; the checkpoint is damaged, start a new run"
        ) from None
    except RuntimeError as error:
        if (died := worker_death(error)) is not None:
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
class _Session:
    """One call of `fit`: a new run, or a resumed one."""

    network: Classifier
    recipe: Recipe
    train_split: Split
    val_split: Split
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
        return on_features(self.recipe)

    @property
    def subject(self) -> nn.Module:
        """The module whose weights the checkpoints contain."""
        return self.network.head if self.on_features else self.network

    def begin(self, settings: dict[str, str], *, resume: bool) -> Snapshot | None:
        """Load the last checkpoint of the run, or remove those of an earlier run in the folder."""
        last = self.checkpoints / "last.ckpt"
        if not resume:
            for name in ("last.ckpt", "best.ckpt"):
                (self.checkpoints / name).unlink(missing_ok=True)
        if not last.exists() and not last.is_symlink():
            self.log.write(f"started: {self._describe()}")
            self.log.write(f"settings: {self.recipe.train.model_dump_json()}")
            return None
        since = load_snapshot(last)
        since.require(settings, last)
        spec, plateau = self.recipe.train, plateau_of(self.recipe.train)
        stopping = early_stopping(spec, None)
        since.require_fit(
            self.subject,
            None if stopping is None else stopping.state_dict(),
            None if plateau is None else asdict(plateau),
            averaged=spec.ema is not None,
            epochs=spec.epochs,
        )
        self.subject.load_state_dict(since.weights)
        if since.best_epoch == since.epoch:
            # If the process was killed between writing the two files of an epoch, best.ckpt is an older one.
            save_best(self.checkpoints / "best.ckpt", since.evaluated, since.epoch)
        self._write_tables(since)
        self.log.write(f"resumed after epoch {since.epoch}: {self._describe()}")
        return since

    def train(
        self,
        settings: dict[str, str],
        since: Snapshot | None,
        embedded: Callable[[], Embedded] | None,
        progress: Progress,
        on_epoch: OnEpoch | None,
    ) -> Snapshot:
        """Run the remaining epochs."""
        spec = self.recipe.train
        done = since.epoch if since else 0
        self.network.lay_out(self.network.memory_format)
        loaders = self._loaders(done, embedded, progress)
        plateau = Plateau(**since.plateau) if since and since.plateau else plateau_of(spec)
        learner = Learner(
            self.network,
            Schedule(spec, len(loaders[0]), plateau),
            on_features=self.on_features,
            class_weights=loss_weights(self.network.head, spec, self.train_split),
            first_epoch=done,
            optimizer_state=since.optimizer if since else None,
        )
        board = TensorBoard(self.run / "tensorboard", done) if spec.tensorboard else None
        snapshots: list[Snapshot] = []

        def on_snapshot(snapshot: Snapshot) -> None:
            snapshots[:] = [snapshot]
            self._tell(snapshot, board, on_epoch)

        averaging = _averaging(spec, since)
        stopping = early_stopping(spec, since.stopping if since else None)
        keeper = Keeper(
            self.checkpoints,
            settings,
            averaging=averaging,
            stopping=stopping,
            since=since,
            on_snapshot=on_snapshot,
        )
        profiler = None if self.profile is None else Profiler(self.profile)
        callbacks = [
            each for each in (profiler, averaging, stopping, keeper, ProgressReport(progress)) if each
        ]
        trainer = make_trainer(spec, self.device, callbacks, epochs=spec.epochs - done, run=self.run)
        try:
            with torch_threads(1) if self.on_features else nullcontext():
                trainer.fit(learner, *loaders)
        finally:
            if board is not None:
                board.close()
        return snapshots[0]

    def finish(self, last: Snapshot) -> History:
        """Load the best weights into the network and plot the learning curves."""
        restore_best(self.checkpoints / "best.ckpt", self.subject)
        self.network.freeze(0)
        self.network.lay_out(torch.contiguous_format)
        self.network.cpu().eval()
        draw_curves(self.run / "curves.png", last.rows, last.losses, last.best_epoch)
        end = "stopped early" if last.stopped_early else "finished"
        self.log.write(f"{end} after epoch {last.epoch}; kept the weights of epoch {last.best_epoch}")
        seconds = sum(row.seconds for row in last.rows)
        return History(last.rows, last.best_epoch, last.stopped_early, seconds)

    def _loaders(
        self, done: int, embedded: Callable[[], Embedded] | None, progress: Progress
    ) -> tuple[Loader, Loader]:
        found = None
        if self.on_features:
            with nullcontext() if self.profile is None else self.profile.during("embeddings"):
                found = self._embed(progress) if embedded is None else embedded()
        pin = self.device.kind == "cuda"
        return (
            training_loader(
                self.train_split,
                augmentation(self.recipe),
                self.recipe,
                features=None if found is None else found.train,
                first_epoch=done,
                pin_memory=pin,
                clock=None if self.profile is None else self.profile.workers,
            ),
            ordered_loader(
                self.val_split,
                None,
                self.recipe,
                features=None if found is None else found.val[np.newaxis],
                pin_memory=pin,
            ),
        )

    def _embed(self, progress: Progress) -> Embedded:
        compute = eager(self.network, self.device.torch)
        return embed_splits(self.recipe, self.train_split, self.val_split, compute, progress)

    def _tell(self, snapshot: Snapshot, board: TensorBoard | None, on_epoch: OnEpoch | None) -> None:
        row = snapshot.rows[-1]
        self._write_tables(snapshot)
        self.log.write(epoch_line(row, self.recipe.train.epochs))
        if board is not None:
            board.write(row)
        if on_epoch is not None:
            on_epoch(row)

    def _write_tables(self, snapshot: Snapshot) -> None:
        write_metrics(self.run / "metrics.csv", snapshot.rows)
        write_steps(self.run / "steps.csv", snapshot.losses)

    def _describe(self) -> str:
        return (
            f"strategy {self.recipe.train.strategy}, {len(self.train_split.targets)} training and"
            f" {len(self.val_split.targets)} validation photos, device {self.device.kind},"
            f" precision {self.device.precision}, torch {torch.__version__},"
            f" {torch.get_num_threads()} threads"
        )


def _averaging(spec: TrainSpec, since: Snapshot | None) -> Averaging | None:
    if spec.ema is None:
        return None
    return Averaging(spec.ema, since.average, since.average_steps) if since else Averaging(spec.ema)
