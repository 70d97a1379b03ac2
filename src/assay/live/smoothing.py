"""Smooth predictions over time (exponential mean, hysteresis) so that the label does not flicker."""

import math
from dataclasses import dataclass

import numpy as np

from assay.inference import AbstentionReason, Prediction
from assay.live.sources import TIME_EPSILON


@dataclass(frozen=True, slots=True)
class SmoothingConfig:
    """Parameters of the smoothing.

    Attributes:
        time_constant: of the exponential mean, in seconds; 0: no smoothing.
        margin: probability lead that a new label needs, from 0 up to but not including 1.
        hold: seconds for which it must lead without interruption.
    """

    time_constant: float = 1.0
    margin: float = 0.1
    hold: float = 0.5

    @property
    def delay(self) -> float:
        """Seconds until a label change is reported if every frame is certain, excluding the frame interval.

        A mean of time constant T has moved by 1 - exp(-t/T) after t, so the new label leads by the margin m when
        exp(-t/T) = (1 - m) / 2. Less confident frames take longer.
        """
        return self.time_constant * math.log(2 / (1 - self.margin)) + self.hold


@dataclass(frozen=True, slots=True)
class SmoothedPrediction:
    """The smoothed prediction at one time.

    Attributes:
        confidence: smoothed probability of the label, 0-1.
        unknown: whether the classifier abstains; None if abstention is disabled.
        reason: why, from the last unknown frame.
        changed: whether label or `unknown` differ from the previous one; true for the first.
    """

    label: str
    confidence: float
    probabilities: dict[str, float]
    unknown: bool | None
    reason: AbstentionReason | None
    changed: bool


class PredictionSmoother:
    """Smooths a stream of predictions."""

    def __init__(self, config: SmoothingConfig) -> None:
        self._config = config
        self._labels = _HysteresisSelector(config)
        self._unknown = _HysteresisSelector(config)
        self._reason: AbstentionReason | None = None
        self._last: tuple[str, bool | None] | None = None

    def reset(self) -> None:
        """Forget earlier predictions, after a gap."""
        self._labels, self._unknown = _HysteresisSelector(self._config), _HysteresisSelector(self._config)

    def update(self, prediction: Prediction, time: float) -> SmoothedPrediction:
        """Add the prediction of the next frame, at a time in seconds that must not decrease."""
        names = tuple(prediction.probabilities)
        index = self._labels.update(np.array([*prediction.probabilities.values()]), time)
        values = self._labels.values.tolist()
        unknown = self._smooth_unknown(prediction, time)
        now = names[index], unknown
        changed, self._last = now != self._last, now
        probabilities = dict(zip(names, values, strict=True))
        reason = self._reason if unknown else None
        return SmoothedPrediction(names[index], values[index], probabilities, unknown, reason, changed)

    def _smooth_unknown(self, prediction: Prediction, time: float) -> bool | None:
        """Smooth `unknown` as if known and unknown were two labels."""
        if prediction.unknown is None:
            return None
        self._reason = prediction.reason or self._reason
        unknown = float(prediction.unknown)
        return bool(self._unknown.update(np.array([1 - unknown, unknown]), time))


class _HysteresisSelector:
    """Selects the largest of several exponential means, with hysteresis."""

    def __init__(self, config: SmoothingConfig) -> None:
        self._config = config
        self.values = np.empty(0)
        self._time = 0.0
        self._selected = -1
        self._challenger = -1
        self._since = 0.0

    def update(self, values: np.ndarray, time: float) -> int:
        """Add values, float64 [n], at a time; return the selected index."""
        if self._selected < 0:
            self.values, self._selected = values.astype(np.float64), int(values.argmax())
        else:
            elapsed = max(0.0, time - self._time)
            weight = -math.expm1(-elapsed / self._config.time_constant) if self._config.time_constant > 0 else 1.0
            self.values = self.values + weight * (values - self.values)
        self._time = time
        self._decide(time)
        return self._selected

    def _decide(self, time: float) -> None:
        index = int(self.values.argmax())
        if index == self._selected or self.values[index] - self.values[self._selected] < self._config.margin:
            self._challenger = -1
            return
        if index != self._challenger:
            self._challenger, self._since = index, time
        if time - self._since >= self._config.hold - TIME_EPSILON:
            self._selected, self._challenger = index, -1
