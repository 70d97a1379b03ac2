"""Photos whose given label is least credible, judged by probabilities of models that never saw them.

Knows nothing of photos: give it out-of-fold probabilities, as cross-validation makes them. In-sample ones
hide the very errors that are looked for, for a network learns them by heart.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class LabelSuspects:
    """A ranking of all photos by how little their label is believed."""

    order: npt.NDArray[np.int64]
    """Indices [N] of the photos, the most suspect first."""
    margins: npt.NDArray[np.float64]
    """For each photo [N], in its own place: the given label's self-confidence less the largest other class's;
    from -1 to 1, the lower the more suspect."""
    suggested: npt.NDArray[np.int64]
    """Class [N] that the models would give instead: the likeliest besides the given one."""
    likely: npt.NDArray[np.bool_]
    """Whether the photo [N] counts as mislabelled: the models believe in another class at least as much as
    they usually do for photos of that class, and more than in the given one."""


def label_suspects(probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> LabelSuspects:
    """Rank photos by how little their given label is believed.

    Probabilities are first divided by the mean probability that photos of each class are given for their own
    label, so that classes the models are always unsure of are not suspect as a whole.

    Args:
        probabilities: out-of-fold, shape [N, C], rows that sum to 1.
        labels: the given class indices, shape [N], 0 to C - 1.

    Raises:
        ValueError: the shapes do not match, a label is outside, there is one class only, or a row is no
            distribution.

    Source: C. Northcutt, L. Jiang, I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
        Journal of Artificial Intelligence Research 70, 2021: class thresholds from mean self-confidence, and
        ranking by normalised margin.
    """
    given = np.asarray(labels, np.int64)
    raw = np.asarray(probabilities, np.float64)
    _validate(raw, given)
    n, classes = raw.shape
    rows = np.arange(n)
    usual = np.ones(classes)
    for label in np.unique(given):
        usual[label] = max(raw[given == label, label].mean(), 1e-6)
    relative = raw / usual
    relative /= relative.sum(1, keepdims=True)
    others = relative.copy()
    others[rows, given] = -1
    suggested = others.argmax(1)
    margins = relative[rows, given] - others[rows, suggested]
    confident = np.where(np.arange(classes) == given[:, None], -1.0, raw / usual).max(1) >= 1
    return LabelSuspects(
        order=np.argsort(margins, kind="stable"),
        margins=margins,
        suggested=suggested,
        likely=confident & (margins < 0),
    )


def _validate(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities {probabilities.shape} do not match labels {labels.shape}")
    if probabilities.shape[1] < 2:
        raise ValueError("one class leaves nothing to confuse")
    if len(labels) and not 0 <= labels.min() <= labels.max() < probabilities.shape[1]:
        raise ValueError("a label is outside the classes")
    if not (np.isfinite(probabilities).all() and np.allclose(probabilities.sum(1), 1, atol=1e-3)):
        raise ValueError("every row of probabilities must sum to 1")
