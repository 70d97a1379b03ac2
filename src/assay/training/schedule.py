"""Schedule of a run: the learning rate of every step, reduction on plateau, early stopping.

Which layers train in an epoch.
"""

import math
from dataclasses import dataclass

from assay.recipe import TrainSpec

_WARMUP_START = 0.01
_ONECYCLE_RISE = 0.3
_ONECYCLE_START = 1 / 25
_ONECYCLE_END = _ONECYCLE_START / 1e4
_PLATEAU_FACTOR = 0.1
_PLATEAU_PATIENCE = 5


def lr_factor(spec: TrainSpec, step: int, steps: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step as a share of the peak rate, above 0 and up to 1.

    For the schedule `plateau` this is 1; `Plateau.factor` is applied in addition.

    Args:
        spec: selects the schedule and the length of the warm-up.
        step: counted from 0.
        steps: total number of steps.
        steps_per_epoch: number of steps per epoch.

    Source: cosine: Loshchilov & Hutter, SGDR, 2017, without restarts; one-cycle: Smith & Topin,
        Super-Convergence, 2018, with cosine flanks and constant momentum.
    """
    if spec.schedule == "onecycle":
        return _onecycle(step, steps)
    warmup = spec.warmup_epochs * steps_per_epoch if spec.schedule in {"constant", "cosine"} else 0
    if step < warmup:
        return _WARMUP_START + (1 - _WARMUP_START) * step / warmup
    if spec.schedule == "cosine":
        return _cosine(1.0, 0.0, (step - warmup) / max(1, steps - warmup))
    return 1.0


def _onecycle(step: int, steps: int) -> float:
    peak = max(1.0, _ONECYCLE_RISE * steps - 1)
    if step <= peak:
        return _cosine(_ONECYCLE_START, 1.0, step / peak)
    return _cosine(1.0, _ONECYCLE_END, (step - peak) / max(1.0, steps - 1 - peak))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2


@dataclass
class ReduceOnPlateau:
    """Divides the learning rate by ten whenever the metric has not improved for `patience` epochs."""

    patience: int
    """Epochs without improvement before a reduction."""
    min_delta: float = 0.0
    """Smallest change that counts as an improvement."""
    best: float = -math.inf
    """Best score so far."""
    waited: int = 0
    """Epochs since the best score or the last reduction."""
    reductions: int = 0
    """How often the rate was reduced."""

    @property
    def factor(self) -> float:
        """Remaining share of the peak rate."""
        return _PLATEAU_FACTOR**self.reductions

    def update(self, score: float) -> None:
        """Update with the score of an epoch; higher is better."""
        if score > self.best + self.min_delta:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.waited = 0
            self.reductions += 1


def make_plateau(spec: TrainSpec) -> ReduceOnPlateau | None:
    """Return the initial state of the schedule `plateau`; None for other schedules.

    Its patience is half of early stopping's and at least 1; without early stopping it is 5 epochs.
    """
    if spec.schedule != "plateau":
        return None
    if spec.early_stopping is None:
        return ReduceOnPlateau(_PLATEAU_PATIENCE)
    return ReduceOnPlateau(max(1, spec.early_stopping.patience // 2), spec.early_stopping.min_delta)


@dataclass
class TrainingSchedule:
    """Learning rates and trained layers of a run, as functions of step and epoch.

    Only `plateau` is stateful, because it depends on validation metrics.
    """

    spec: TrainSpec
    """Strategy, rates and schedule."""
    steps_per_epoch: int
    """Optimizer steps in one pass over the training images."""
    plateau: ReduceOnPlateau | None = None
    """State of the schedule `plateau`."""

    @property
    def head_epochs(self) -> int:
        """Epochs of the first stage of `staged`, 0 for the other strategies."""
        spec = self.spec
        return min(spec.staged.head_epochs, spec.epochs) if spec.strategy == "staged" else 0

    def head_alone(self, epoch: int) -> bool:
        """Return whether only the head is trained in an epoch (counted from 0)."""
        return self.spec.strategy == "probe" or epoch < self.head_epochs

    def warming_head(self, epoch: int) -> bool:
        """Return whether an epoch (counted from 0) belongs to the first stage of `staged`.

        Early stopping and the plateau ignore that stage: the second one follows in any case.
        """
        return epoch < self.head_epochs

    def rate(self, step: int) -> float:
        """Return the head's learning rate in a step of the whole run (counted from 0).

        The first stage of `staged` has a constant rate; the schedule starts with the second stage.
        """
        first_stage = self.head_epochs * self.steps_per_epoch
        if step < first_stage:
            return self.spec.staged.head_lr
        steps = self.spec.epochs * self.steps_per_epoch - first_stage
        share = lr_factor(self.spec, step - first_stage, steps, self.steps_per_epoch)
        return self.spec.lr * share * (self.plateau.factor if self.plateau else 1.0)
