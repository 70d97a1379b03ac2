"""Learning-rate schedules, early stopping, and the layers that are trained in an epoch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from assay.recipe import TrainSpec
from assay.training.history import EpochMetrics, epoch_score

_WARMUP_START = 0.01
_ONECYCLE_RISE = 0.3
_ONECYCLE_START = 1 / 25
_ONECYCLE_END = _ONECYCLE_START / 1e4
_PLATEAU_FACTOR = 0.1
_PLATEAU_PATIENCE = 5


def lr_factor(spec: TrainSpec, step: int, steps: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step as a share of the peak rate, above 0 and up to 1.

    For the schedule `plateau` this is 1; `ReduceOnPlateau.factor` is applied in addition.

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
    bad_epochs: int = 0
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
            self.best, self.bad_epochs = score, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs >= self.patience:
            self.bad_epochs = 0
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


class TrainingSchedule:
    """Learning rates, early stopping and trained layers of a run, as functions of step, epoch and metrics.

    Early stopping and `plateau` ignore the first stage of `staged`: the second one follows in any case.

    Args:
        spec: strategy, rates, schedule and early stopping.
        steps_per_epoch: optimizer steps in one pass over the training images.
        metrics: of the finished epochs of a resumed run.
    """

    def __init__(self, spec: TrainSpec, steps_per_epoch: int, metrics: Sequence[EpochMetrics] = ()) -> None:
        self.spec = spec
        self.steps_per_epoch = steps_per_epoch
        self._plateau = make_plateau(spec)
        self._best = -math.inf
        self._bad_epochs = 0
        for epoch in metrics:
            self.end_epoch(epoch)

    @property
    def head_epochs(self) -> int:
        """Epochs of the first stage of `staged`, in which only the head is trained; 0 for other strategies."""
        return min(self.spec.staged.head_epochs, self.spec.epochs) if self.spec.strategy == "staged" else 0

    def trains_only_head(self, epoch: int) -> bool:
        """Return whether only the head is trained in an epoch (counted from 0)."""
        return self.spec.strategy == "probe" or epoch < self.head_epochs

    def learning_rate(self, step: int) -> float:
        """Return the head's learning rate in a step of the whole run (counted from 0).

        The first stage of `staged` has a constant rate; the schedule starts with the second stage.
        """
        head_steps = self.head_epochs * self.steps_per_epoch
        if step < head_steps:
            return self.spec.staged.head_lr
        steps = self.spec.epochs * self.steps_per_epoch - head_steps
        factor = lr_factor(self.spec, step - head_steps, steps, self.steps_per_epoch)
        return self.spec.lr * factor * (self._plateau.factor if self._plateau else 1.0)

    def end_epoch(self, metrics: EpochMetrics) -> None:
        """Update `plateau` and early stopping with the metrics of the next epoch."""
        if metrics.epoch <= self.head_epochs:
            return
        score = epoch_score(metrics, self.spec)[0]
        if self._plateau is not None:
            self._plateau.update(score)
        min_delta = self.spec.early_stopping.min_delta if self.spec.early_stopping else 0.0
        if score - min_delta > self._best:
            self._best, self._bad_epochs = score, 0
        else:
            self._bad_epochs += 1

    @property
    def stops_early(self) -> bool:
        """Whether the metric of early stopping has not improved by `min_delta` for `patience` epochs."""
        return self.spec.early_stopping is not None and self._bad_epochs >= self.spec.early_stopping.patience
