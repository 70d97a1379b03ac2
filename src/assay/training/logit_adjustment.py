"""Logit adjustment: correct a classifier's logits for class frequencies other than those it was trained with.

Source: A. K. Menon et al., "Long-tail learning via logit adjustment" (2021), post-hoc correction.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from assay.nets.heads import Head
from assay.recipe import TrainSpec

Objective = Literal["accuracy", "balanced_accuracy"]


def logit_offsets(counts: npt.NDArray[np.int64], objective: Objective, *, balanced: bool) -> npt.NDArray[np.float64]:
    """Return what to add to the logits of a classifier, float64 [C].

    Args:
        counts: training images per class, int64 [C].
        objective: accuracy: classes are expected as frequently as in `counts`; balanced_accuracy: equally frequently.
        balanced: whether all classes had the same weight in training (`train.balance`).
    """
    if balanced == (objective == "balanced_accuracy"):
        return np.zeros(len(counts))
    present = np.maximum(counts, 1)
    priors = np.log(present / present.sum())
    offsets: npt.NDArray[np.float64] = priors - priors.mean()
    return offsets if balanced else -offsets


def adjust_head(head: Head, targets: npt.NDArray[np.int64], spec: TrainSpec) -> None:
    """Add the offsets of `train.objective` to the biases of a trained head, in place; nothing without an objective.

    Args:
        head: of the network.
        targets: classes of the training images, int64 [N].
        spec: its objective and balance.
    """
    if spec.objective is None:
        return
    counts = np.bincount(targets, minlength=head.fc.out_features)
    offsets = logit_offsets(counts, spec.objective, balanced=spec.balance != "none")
    with torch.no_grad():
        head.fc.bias.add_(torch.from_numpy(offsets).to(head.fc.bias))
