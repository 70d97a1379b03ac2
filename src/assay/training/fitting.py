"""`fit`: train a network, or resume its training, and keep the weights of the best epoch."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from assay.core.errors import AssayError, UsageError
from assay.core.progress import Progress, no_progress
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training.callbacks import Profile
from assay.training.checkpoint import load_training_state
from assay.training.checkpoint_validation import CheckpointMismatchError
from assay.training.dataloaders import LabeledImages, check_batch_norm, check_split, worker_death_message
from assay.training.device import deterministic_algorithms, out_of_memory_message, select_device
from assay.training.distributed import training_processes
from assay.training.feature_extraction import SplitEmbeddings, uses_cached_embeddings
from assay.training.history import METRICS_FILE, EpochListener, History, RunLog, follow_epochs
from assay.training.lightning_trainer import quiet_lightning, raise_on_interrupt
from assay.training.nodes import Nodes, RemoteProcesses, pickled
from assay.training.training_run import TrainingRun, train_in_process


def fit(
    network: ClassifierNetwork,
    recipe: Recipe,
    train: LabeledImages,
    val: LabeledImages,
    *,
    run: Path,
    resume: bool = False,
    embeddings: Callable[[], SplitEmbeddings] | None = None,
    progress: Progress = no_progress,
    on_epoch: EpochListener | None = None,
    profile: Profile | None = None,
    machines: Nodes | RemoteProcesses | None = None,
) -> History:
    """Train a network in place; it ends with the weights of the best epoch, in evaluation mode on the CPU.

    The best epoch has the best value of early stopping's metric, or the lowest validation loss without early
    stopping.

    The same network, recipe and images give the same weights on the same machine, bit for bit, for any number
    of worker processes and however often the run was killed and resumed. A run that is resumed on another machine
    keeps the precision it began with. A run writes
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
        embeddings: returns the embeddings of both splits, if the head is trained on embeddings and the run is
            not finished; none: `network` computes them.
        progress: called after every batch.
        on_epoch: called after every epoch of this session, once its checkpoint is written.
        profile: accumulates the time of every phase; none: no profiling.
        machines: where the processes run that share every batch; none: `train.devices` processes on this machine.

    Raises:
        AssayError: a split is empty, an image cannot be read, the loss is not finite, the device has too
            little memory, or the checkpoint to resume from is damaged or belongs to another run.
        UsageError: the recipe requests a device that is not available, freezes more stages than there are,
            or gives batch norm in the head a single image, or a head is to be trained on several machines.
        TrainingInterruptedError: Ctrl-C or a termination signal.
    """
    classes = network.head.fc.out_features
    check_split("training", train, classes)
    check_split("validation", val, classes)
    check_batch_norm(recipe, len(train.targets))
    if machines is not None:
        check_several_machines(recipe)
    device = select_device(recipe.train, on_embeddings=uses_cached_embeddings(recipe))
    training = TrainingRun(network, recipe, train, val, run, device, RunLog(run / "training.log"), profile)
    try:
        with raise_on_interrupt(run), quiet_lightning(), deterministic_algorithms(device):
            if not resume:
                training.clear()
            state = training.resume()
            if state is None or not state.finished:
                call = partial(pickled, train_in_process, replace(training, profile=None), state)
                if machines is not None and not isinstance(machines, Nodes):
                    with follow_epochs(run / METRICS_FILE, on_epoch, after=state.epoch if state else 0):
                        machines.run(call(), recipe.train.devices)
                    state = load_training_state(training.last_checkpoint)
                else:
                    processes = 1 if training.on_embeddings else recipe.train.devices
                    with training_processes(processes, call, machines) as group:
                        state = training.train(state, embeddings, progress, on_epoch, group)
            return training.finish(state)
    except AssayError as error:
        training.log.write(f"stopped: {error}")
        raise
    except CheckpointMismatchError as error:
        training.log.write(f"stopped: {error}")
        raise AssayError(
            f"{training.last_checkpoint} cannot be resumed: {error}; the checkpoint is damaged, start a new run"
        ) from None
    except RuntimeError as error:
        if (message := worker_death_message(error)) is not None:
            training.log.write(f"stopped: {error}")
            raise AssayError(message) from error
        if (message := out_of_memory_message(error, device, recipe.train.batch_size)) is None:
            raise
        training.log.write("stopped: out of memory")
        raise AssayError(message) from error


def check_several_machines(recipe: Recipe) -> None:
    """Check that a recipe can be trained on several machines.

    Raises:
        UsageError: it trains only heads, or searches.
    """
    if recipe.train.strategy == "auto":
        raise UsageError("the strategy auto trains on one machine: set train.strategy to another one, such as finetune")
    if uses_cached_embeddings(recipe):
        raise UsageError("a head on embeddings is trained by one process: leave the options for several machines out")
