"""One number that makes confidence honest: logits are divided by it before the softmax.

A temperature above 1 makes the classifier less sure, below 1 surer; which class is predicted stays the same.

Source: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural Networks" (2017).
"""

from dataclasses import dataclass
from math import exp, log

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from assay.errors import AssayError
from assay.evaluation.predictions import Floats, Integers

LOWEST, HIGHEST = 0.05, 20.0
"""No temperature is fitted outside these: beyond, the photos say nothing about confidence."""


@dataclass(frozen=True, slots=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: what logits are divided by, from `LOWEST` to `HIGHEST`.
        before: negative log-likelihood a photo at temperature 1, in nats.
        after: the same at `value`; never larger.
        at_limit: whether a limit stopped the fit; then look at the photos rather than trust the value.
    """

    value: float
    before: float
    after: float
    at_limit: bool


def fit_temperature(logits: Floats, actual: Integers) -> Temperature:
    """Find the temperature for which the labels are most likely.

    Fit it on photos that were used neither for training nor for the numbers to report: validation photos.
    When all of them are classified correctly, they hold no evidence against any amount of confidence, and
    likelihood alone would ask for more without end: the temperature then stays at 1 or above.

    Args:
        logits: array [N, C], finite; logarithms of probabilities serve as well, in particular
            `Predictions.log_probabilities`: multiply the result by the temperature they were made with.
        actual: int64 array [N] of class indices.

    Raises:
        AssayError: there are no photos.
        ValueError: the shapes do not fit or a logit is not finite.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 2 or actual.shape != logits.shape[:1]:
        raise ValueError(f"logits of shape {logits.shape} do not fit {actual.shape} labels")
    if not np.isfinite(logits).all():
        raise ValueError("a logit is not a finite number")
    if not actual.size:
        raise AssayError(
            "no photos to calibrate on: give the validation part at least one photo of every class"
        )
    flawless = bool((logits.argmax(axis=1) == actual).all())
    bounds = (0.0 if flawless else log(LOWEST), log(HIGHEST))
    # The likelihood is concave in 1/T, so it has one optimum in log T.
    found = minimize_scalar(
        lambda x: negative_log_likelihood(logits, actual, exp(x)),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-7},
    )
    before = negative_log_likelihood(logits, actual)
    # The search stops a little short of a limit that is the optimum.
    candidates = [exp(x) for x in (float(found.x), *bounds)]
    after, value = min((negative_log_likelihood(logits, actual, one), one) for one in candidates)
    if after >= before:
        return Temperature(1.0, before, before, at_limit=False)
    return Temperature(value, before, after, at_limit=not 1.001 * LOWEST < value < HIGHEST / 1.001)


def negative_log_likelihood(logits: Floats, actual: Integers, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood (log-loss) of the labels in nats: logits [N, C], labels int64 [N]."""
    scores = log_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return float(-scores[np.arange(len(actual)), actual].mean())


def apply_temperature(logits: Floats, temperature: float) -> Floats:
    """Return the probabilities, float64 [N, C], of logits [N, C] at a temperature above 0."""
    return np.asarray(softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1), dtype=np.float64)
