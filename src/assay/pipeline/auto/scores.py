"""Scores of a candidate on held-out images, and the paired comparison of two candidates."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from assay.data import Sample
from assay.evaluation.clusters import cluster_numbers, standard_error
from assay.evaluation.intervals import CONFIDENCE_LEVEL, normal_quantile
from assay.training.logit_adjustment import Objective

Floats = npt.NDArray[np.float64]

_SMALLEST_LOG = float(np.log(1e-6))
"""Smallest log probability in a loss: a single confident mistake must not outweigh all other images."""


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Predictions on M held-out images; with repeated cross-validation, the mean over the repeats.

    Attributes:
        ids: of the images, M of them.
        correct: share of correct predictions, float64 [M], 0-1.
        losses: log loss after temperature scaling, float64 [M], in nats.
        weights: float64 [M], mean 1: equal, or inverse class frequencies for balanced accuracy.
        groups: number of each image's group, int64 [M]; images of a group are not independent.
        targets: class indices, int64 [M].
    """

    ids: tuple[str, ...]
    correct: Floats
    losses: Floats
    weights: Floats
    groups: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, samples: Sequence[Sample], targets: npt.NDArray[np.int64], logits: Sequence[Floats], objective: Objective
    ) -> "HeldOutScores":
        """Score the logits of images.

        Args:
            samples: M images.
            targets: class indices, int64 [M].
            logits: [M, C] of every repeat, adjusted for the objective; log probabilities serve as well.
            objective: balanced accuracy weights all classes equally.
        """
        weights = np.ones(len(targets))
        if objective == "balanced_accuracy":
            counts = np.bincount(targets)
            weights = (1 / np.maximum(counts, 1))[targets]
            weights *= len(weights) / weights.sum()
        groups = cluster_numbers([sample.group for sample in samples])
        correct = np.mean([values.argmax(axis=1) == targets for values in logits], axis=0)
        losses = np.mean([_calibrated_losses(values, targets, weights) for values in logits], axis=0)
        return cls(tuple(sample.id for sample in samples), correct, losses, weights, groups, targets)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def objective(self) -> float:
        """Accuracy, or balanced accuracy, 0-1."""
        return float(np.average(self.correct, weights=self.weights))

    @cached_property
    def accuracy(self) -> float:
        """Share of correct predictions, 0-1."""
        return float(self.correct.mean())

    @cached_property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have images, 0-1."""
        return float(np.mean([self.correct[self.targets == target].mean() for target in np.unique(self.targets)]))

    @cached_property
    def half_width(self) -> float:
        """Half the width of the 95 % interval of `objective`, at most 0.5 for two or more images."""
        count = len(self)
        if count < 2:
            return 1.0
        error = standard_error(self.correct, self.weights, self.groups)
        # With no or few mistakes the observed variance is too small: never below that of two more mistakes.
        share = (self.objective * count + 1) / (count + 2)
        width = normal_quantile(CONFIDENCE_LEVEL) * max(error, float(np.sqrt(share * (1 - share) / count)))
        return min(width, 0.5)


class Gain(NamedTuple):
    """What a candidate gains over another one on the same images, with standard errors."""

    objective: float
    """Difference of accuracy or balanced accuracy, as a share of 1."""
    objective_error: float
    loss: float
    """Decrease of the log loss in nats."""
    loss_error: float

    def is_better(self, *, slower: bool = False) -> bool:
        """Whether the gain is more than noise.

        That is: more than one standard error in the objective; or no loss there, and more than one standard error in
        the log loss, which depends less on chance. A candidate whose predictions take longer must also gain
        `WORTH_TIME`.

        Args:
            slower: whether a prediction of the new candidate takes longer.
        """
        least = WORTH_TIME if slower else Gain(0.0, 0.0, 0.0, 0.0)
        if self.objective > max(self.objective_error, least.objective):
            return True
        return self.objective >= 0 and self.loss > max(self.loss_error, least.loss)

    @property
    def is_worse(self) -> bool:
        """Whether the objective falls by more than one standard error."""
        return self.objective < -self.objective_error


WORTH_TIME = Gain(0.005, 0.0, 0.02, 0.0)
"""Smallest gain that is worth slower predictions: half a point, or 0.02 nats."""


def gain_over(new: HeldOutScores, old: HeldOutScores) -> Gain:
    """Compare two candidates image by image.

    Raises:
        ValueError: they were not scored on the same images.
    """
    if new.ids != old.ids:
        raise ValueError("the candidates have scores of different images")
    correct, losses = new.correct - old.correct, old.losses - new.losses
    return Gain(
        float(np.average(correct, weights=new.weights)),
        standard_error(correct, new.weights, new.groups),
        float(np.average(losses, weights=new.weights)),
        standard_error(losses, new.weights, new.groups),
    )


def _calibrated_losses(logits: Floats, targets: npt.NDArray[np.int64], weights: Floats) -> Floats:
    """Return the log loss of every image at the temperature from 1 to 10 with the lowest mean."""

    def losses(power: float) -> Floats:
        rows = log_softmax(logits / 10**power, axis=1)[np.arange(len(targets)), targets]
        values: Floats = -np.maximum(rows, _SMALLEST_LOG)
        return values

    found = minimize_scalar(
        lambda power: float(np.average(losses(power), weights=weights)),
        bounds=(0.0, 1.0),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return losses(float(found.x))
