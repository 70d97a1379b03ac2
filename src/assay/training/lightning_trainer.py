"""Lightning's Trainer, without Lightning's banners and with its interrupts as exceptions."""

import logging
import shlex
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from assay.recipe import TrainSpec
from assay.training.device import Device
from assay.training.distributed import ProcessGroup, ddp_strategy
from assay.training.history import TrainingInterruptedError

_IGNORED_WARNINGS = (
    # Frozen stages are in evaluation mode.
    (r"Found \d+ module\(s\) in eval mode", PossibleUserWarning),
    # train.workers is the user's choice, and 0 is right for few photos and for embeddings.
    (r"The '\w+' does not have many workers", PossibleUserWarning),
    # So is train.device=cpu.
    (r"\w+ available but not used", UserWarning),
    # Lightning 2.6 calls an API that torch 2.13 deprecates.
    (r".*isinstance\(treespec, LeafSpec\)", FutureWarning),
    # The metrics of several processes are combined before they are logged.
    (r"It is recommended to use `self.log\(", PossibleUserWarning),
    # Worker processes are forked before they start threads of their own.
    (r"This process .* is multi-threaded, use of fork\(\)", DeprecationWarning),
)


def make_trainer(
    spec: TrainSpec,
    device: Device,
    callbacks: Sequence[Callback],
    *,
    epochs: int,
    run: Path,
    group: ProcessGroup,
) -> Trainer:
    """Return a Lightning Trainer for the remaining epochs of a run.

    Each process of the group trains on one device.

    Args:
        spec: its gradient clipping is used.
        device: accelerator and precision.
        callbacks: one of them writes the checkpoints.
        epochs: number of remaining epochs.
        run: folder of the run; the Trainer itself writes nothing there.
        group: the processes that train together.
    """
    several = group.size > 1
    # With `staged`, the layers of the backbone have no gradient in the first epochs.
    strategy = ddp_strategy(group, device, unfreezes=spec.strategy == "staged") if several else "auto"
    return Trainer(
        accelerator=device.kind,
        devices=group.local_size,
        num_nodes=group.nodes,
        strategy=strategy,
        precision=device.lightning_precision,
        max_epochs=epochs,
        callbacks=list(callbacks),
        gradient_clip_val=spec.gradient_clip,
        default_root_dir=run,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Suppress Lightning's banners and its warnings about deliberate choices within the block."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message, category in _IGNORED_WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def interrupted_error(run: Path) -> TrainingInterruptedError:
    """Return the error that says how to continue a run."""
    return TrainingInterruptedError(
        f"training was interrupted; continue with: assay train --resume {shlex.quote(str(run))}"
    )


@contextmanager
def raise_on_interrupt(run: Path) -> Iterator[None]:
    """Convert Ctrl-C and a termination signal within the block to `TrainingInterruptedError`.

    On Ctrl-C, Lightning 2.6 ignores further ones for the rest of the process and calls `sys.exit`; both are
    undone here.

    Raises:
        TrainingInterruptedError: the block was interrupted.
    """
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except KeyboardInterrupt as error:
        raise interrupted_error(run) from error
    except SystemExit as error:
        if isinstance(error, SIGTERMException) or isinstance(error.__context__, KeyboardInterrupt):
            raise interrupted_error(run) from error
        raise
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
