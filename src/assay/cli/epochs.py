"""What is printed while a network learns: a line an epoch, or little where a head is fitted in seconds."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from assay.cli.console import say

if TYPE_CHECKING:
    from assay.recipe import Recipe
    from assay.training import EpochRow, History

_PAUSE = 10.0  # seconds between the lines of a head that is fitted to kept embeddings


class EpochPrinter:
    """Prints the epochs of runs by name.

    Every epoch in which photos go through the network is a line. The epochs of a head that learns from
    embeddings take milliseconds: of those a line is printed every ten seconds at most, so that quick ones
    print none. `metrics.csv` and `training.log` of the run hold them all.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no run known; `clock` tells the time in seconds."""
        self._clock = clock
        self._last: dict[str, float] = {}

    def __call__(self, name: str, row: "EpochRow", recipe: "Recipe") -> None:
        """Print an epoch of a run, if it is time; an empty name is not printed."""
        from assay.training import epoch_line
        from assay.training.probe import on_features

        if on_features(recipe):
            now = self._clock()
            if now - self._last.setdefault(name, now) < _PAUSE:
                return
            self._last[name] = now
        say(f"{name}  {epoch_line(row, recipe.train.epochs)}".lstrip())


def print_fit(history: "History", recipe: "Recipe") -> None:
    """Print one line about a head that was fitted to embeddings; nothing of other training."""
    from assay.training.probe import on_features

    if not on_features(recipe):
        return
    best = history.rows[history.best_epoch - 1]
    epochs = "1 epoch" if len(history.rows) == 1 else f"{len(history.rows)} epochs"
    stopped = ", stopped early" if history.stopped_early else ""
    say(
        f"trained the head: {epochs} in {history.seconds:.1f} s{stopped}; best epoch {best.epoch}: "
        f"loss {best.train_loss:.4f}  accuracy {best.train_accuracy:.4f}"
        f"  val loss {best.val_loss:.4f}  val accuracy {best.val_accuracy:.4f}"
    )
