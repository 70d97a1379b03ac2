"""Learning curves: a score by the number of training images, and its extrapolation to more of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.core.text_layout import align_columns, format_percent

_DRAWS = 2000
_Z = 1.96
_SMALLEST_ERROR = 1e-4


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The score of classifiers trained on a number of images."""

    images: int
    """Mean number of training images."""
    score: float
    """Mean over all folds and repeats, 0 to 1."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Scores by number of training images, measured and extrapolated."""

    metric: str
    """`accuracy` or `balanced accuracy`."""
    points: tuple[CurvePoint, ...]
    """Measured, by number of images."""
    extrapolated: tuple[CurvePoint, ...]
    """Estimated for more images; empty if the measured scores do not rise."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @property
    def text(self) -> str:
        """A table with one line per number of training images."""
        rows = [
            (f"{point.images:,}", format_percent(point.score), _interval(point), kind)
            for kind, points in (("measured", self.points), ("estimated", self.extrapolated))
            for point in points
        ]
        return align_columns([("training photos", self.metric, "95 % interval", ""), *rows])

    @property
    def sentence(self) -> str:
        """What more images would bring, in one sentence."""
        now = self.points[-1]
        if not self.extrapolated:
            return f"No estimate for more photos: the measured {self.metric} does not rise with their number."
        more = self.extrapolated[0]
        return (
            f"With {more.images:,} training photos instead of {now.images:,}, {self.metric} would be about "
            f"{format_percent(more.score)} ({_interval(more)}) instead of {format_percent(now.score)}."
        )


def curve_point(images: Sequence[int], scores: Sequence[float], held_out_share: float) -> CurvePoint:
    """Summarize the scores of all folds and repeats at one number of training images.

    Folds share training images, so their variance is corrected by the ratio of held-out to training images.

    Args:
        images: number of training images of each score.
        scores: one per fold and repeat.
        held_out_share: number of held-out images divided by that of training images.

    Source: Nadeau and Bengio, "Inference for the Generalization Error" (2003), equation 9.
    """
    mean = float(np.mean(scores))
    variance = float(np.var(scores, ddof=1)) if len(scores) > 1 else 0.0
    half = _Z * (variance * (1 / len(scores) + held_out_share)) ** 0.5
    return CurvePoint(round(float(np.mean(images))), mean, max(0.0, mean - half), min(1.0, mean + half))


def extrapolate(points: Sequence[CurvePoint], factors: Sequence[float], seed: int = 0) -> tuple[CurvePoint, ...]:
    """Extrapolate a learning curve by a power law of the error, error = a · images^-b.

    The interval is that of fits to scores drawn from the intervals of the points.

    Args:
        points: measured, two or more with different numbers of images.
        factors: multiples of the largest measured number of images.
        seed: of the draws.

    Returns:
        One point per factor; nothing if the error does not fall with the number of images, or is 0 already.

    Source: Hestness et al., "Deep Learning Scaling is Predictable, Empirically" (2017).
    """
    images = np.array([point.images for point in points], float)
    errors = 1 - np.array([point.score for point in points])
    if len(points) < 2 or errors[-1] <= _SMALLEST_ERROR:
        return ()
    slope, offset = _power_law(images, errors[np.newaxis])
    if slope[0] >= 0:
        return ()
    spread = np.array([(point.high - point.low) / (2 * _Z) for point in points])
    drawn = np.random.default_rng(seed).normal(errors, spread, (_DRAWS, len(points)))
    slopes, offsets = _power_law(images, drawn)
    made = []
    for factor in factors:
        place = np.log(images[-1] * factor)
        error = float(np.exp(offset[0] + slope[0] * place))
        low, high = np.quantile(np.exp(offsets + slopes * place), [0.025, 0.975])
        made.append(CurvePoint(round(images[-1] * factor), 1 - error, max(0.0, 1 - float(high)), 1 - float(low)))
    return tuple(made)


def _power_law(
    images: npt.NDArray[np.float64], errors: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fit log error = offset + slope · log images to rows of errors [R, P] by least squares; slope ≤ 0, both [R]."""
    x, y = np.log(images), np.log(np.clip(errors, _SMALLEST_ERROR, 1))
    centered = x - x.mean()
    slope = np.minimum((y * centered).sum(axis=1) / (centered**2).sum(), 0)
    return slope, y.mean(axis=1) - slope * x.mean()


def _interval(point: CurvePoint) -> str:
    return f"{format_percent(point.low)} to {format_percent(point.high)}"
