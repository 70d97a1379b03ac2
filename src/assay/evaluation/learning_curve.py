"""Learning curves: a score by the number of training images, and its extrapolation to more of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from assay.core.text_layout import align_columns, format_percent
from assay.evaluation.intervals import CONFIDENCE_LEVEL, normal_quantile, wilson_interval

FACTORS = (2.0, 4.0)
"""A curve is extrapolated to these multiples of the available number of training images."""

_DRAWS = 2000
_SMALLEST_ERROR = 1e-4
_MAX_IMAGES = 1e9
"""Limit on the number of images that an interval is equivalent to."""


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
    """Estimated for `FACTORS` times the available images; empty if the measured scores do not rise. If the last
    measured point has fewer images than are available, the first estimate is for those."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "metric": self.metric,
            "points": [asdict(point) for point in self.points],
            "extrapolated": [asdict(point) for point in self.extrapolated],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the curve from the values of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: a value is missing or of another type.
        """
        points, extrapolated = (
            tuple(
                CurvePoint(int(point["images"]), *(float(point[name]) for name in ("score", "low", "high")))
                for point in values[kind]
            )
            for kind in ("points", "extrapolated")
        )
        if not points:
            raise ValueError("no measured point")
        return cls(str(values["metric"]), points, extrapolated)

    @property
    def now(self) -> CurvePoint:
        """The score with the available images, measured or, where there are too many, estimated."""
        return self.extrapolated[0] if len(self.extrapolated) > len(FACTORS) else self.points[-1]

    @property
    def more(self) -> tuple[CurvePoint, ...]:
        """The estimates for `FACTORS` times the available images; empty if there are none."""
        return self.extrapolated[-len(FACTORS) :]

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
        now = self.now
        if not self.more:
            if now.score >= 1 - _SMALLEST_ERROR:
                return f"The measured {self.metric} is 100 %: more photos of the same kind cannot raise it."
            return f"No estimate for more photos: the measured {self.metric} does not rise with their number."
        more = self.more[0]
        return (
            f"With {more.images:,} training photos instead of {now.images:,}, {self.metric} would be about "
            f"{format_percent(more.score)} ({_interval(more)}) instead of {format_percent(now.score)}."
        )


def curve_point(images: Sequence[int], scores: Sequence[float], held_out_share: float, held_out: int) -> CurvePoint:
    """Summarize the scores of all folds and repeats at one number of training images.

    Folds share training images, so their variance is corrected by the ratio of held-out to training images. The
    interval contains Wilson's interval of the mean, so that it has a width also if all folds agree.

    Args:
        images: number of training images of each score.
        scores: one per fold and repeat.
        held_out_share: number of held-out images divided by that of training images.
        held_out: number of different images that were held out in some fold.

    Source: Nadeau and Bengio, "Inference for the Generalization Error" (2003), equation 9.
    """
    mean = float(np.mean(scores))
    variance = float(np.var(scores, ddof=1)) if len(scores) > 1 else 0.0
    half = normal_quantile(CONFIDENCE_LEVEL) * (variance * (1 / len(scores) + held_out_share)) ** 0.5
    binomial = wilson_interval(round(mean * held_out), held_out)
    low, high = max(0.0, min(mean - half, binomial.low)), min(1.0, max(mean + half, binomial.high))
    return CurvePoint(round(float(np.mean(images))), mean, low, high)


def extrapolate(points: Sequence[CurvePoint], counts: Sequence[float], seed: int = 0) -> tuple[CurvePoint, ...]:
    """Extrapolate a learning curve by a power law of the error, error = a · images^-b.

    The interval is that of fits to errors drawn from beta distributions as wide as the intervals of the points.

    Args:
        points: measured, two or more with different numbers of images.
        counts: numbers of training images.
        seed: of the draws.

    Returns:
        One point per count; nothing if the error does not fall with the number of images, or is 0 already.

    Source: Hestness et al., "Deep Learning Scaling is Predictable, Empirically" (2017).
    """
    images = np.array([point.images for point in points], float)
    errors = 1 - np.array([point.score for point in points])
    if len(points) < 2 or errors[-1] <= _SMALLEST_ERROR:
        return ()
    slope, offset = _power_law(images, errors[np.newaxis])
    if slope[0] >= 0:
        return ()
    slopes, offsets = _power_law(images, _draw_errors(points, seed))
    made = []
    for count in counts:
        place = np.log(count)
        error = float(np.exp(offset[0] + slope[0] * place))
        low, high = np.quantile(np.exp(offsets + slopes * place), [0.025, 0.975])
        made.append(CurvePoint(round(count), 1 - error, max(0.0, 1 - float(high)), 1 - float(low)))
    return tuple(made)


def _draw_errors(points: Sequence[CurvePoint], seed: int) -> npt.NDArray[np.float64]:
    """Draw errors [R, P] from the beta distributions of as many images as would give intervals of that width."""
    errors = 1 - np.array([point.score for point in points])
    spread = np.array([(point.high - point.low) / 2 for point in points]) / normal_quantile(CONFIDENCE_LEVEL)
    # Jeffreys' prior of half an image each, which also keeps an error of 0 from being certain.
    shares = np.clip(errors, 0.01, 0.99)
    equivalent = np.minimum(shares * (1 - shares) / np.maximum(spread, 1e-9) ** 2, _MAX_IMAGES)
    generator = np.random.default_rng(seed)
    return generator.beta(errors * equivalent + 0.5, (1 - errors) * equivalent + 0.5, (_DRAWS, len(points)))


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
