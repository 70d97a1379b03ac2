"""Lightning's Trainer: interruptions, warnings and banners."""

import logging
import signal
import warnings
from pathlib import Path

import pytest
from lightning.fabric.utilities.warnings import PossibleUserWarning

from assay.training import TrainingInterruptedError
from assay.training.lightning_trainer import quiet_lightning, raise_on_interrupt


def test_ctrl_c_outside_the_loop_raises_an_interruption():
    with (
        pytest.raises(TrainingInterruptedError, match="assay train --resume runs/7"),
        raise_on_interrupt(Path("runs/7")),
    ):
        signal.raise_signal(signal.SIGINT)


def test_folder_with_a_space_is_quoted_in_the_command():
    with pytest.raises(TrainingInterruptedError, match="--resume 'my run'"), raise_on_interrupt(Path("my run")):
        raise KeyboardInterrupt


def test_other_exits_are_not_converted():
    with pytest.raises(SystemExit, match="3"), raise_on_interrupt(Path("run")):
        raise SystemExit(3)


def test_signal_handler_is_restored_after_an_interruption():
    handler = signal.getsignal(signal.SIGINT)

    def leave_like_lightning() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    with pytest.raises(TrainingInterruptedError), raise_on_interrupt(Path("run")):
        leave_like_lightning()
    assert signal.getsignal(signal.SIGINT) is handler


def test_advice_is_silenced_and_other_warnings_are_shown():
    with quiet_lightning():
        warnings.warn("Found 3 module(s) in eval mode at the start of training.", PossibleUserWarning, stacklevel=1)
        with pytest.warns(PossibleUserWarning, match="something else"):
            warnings.warn("something else", PossibleUserWarning, stacklevel=1)


def test_banners_are_silenced_within_the_block_only():
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    with quiet_lightning():
        assert not logger.isEnabledFor(logging.INFO)
    assert logger.level == before
