"""Smooth predictions over time (exponential mean, hysteresis) so that the label does not flicker."""

import math
from dataclasses import dataclass

import numpy as np

from assay.inference import AbstentionReason, Prediction
from assay.live.sources import TIME_EPSILON


@dataclass(frozen=True, slots=True)
class SmoothingConfig:
    """How steady an answer is kept.

    Attributes:
        seconds: time constant of the exponential mean; 0: no smoothing.
        margin: lead that another label needs, 0 up to 1.
        hold: seconds for which it needs that lead without a break.
    """

    seconds: float = 1.0
    margin: float = 0.1
    hold: float = 0.5

    @property
    def delay(self) -> float:
        """Seconds until a change is told of which every frame is sure, besides the time between two frames.

        A mean of time constant T has moved by 1 - exp(-t/T) after t; the new label leads by the margin m when
        exp(-t/T) = (1 - m) / 2. A change of which the frames are less sure takes longer.
        """
        return self.seconds * math.log(2 / (1 - self.margin)) + self.hold


@dataclass(frozen=True, slots=True)
class SmoothedPrediction:
    """What is said at a moment.

    Attributes:
        label: the class that holds.
        confidence: its smoothed probability, 0-1.
        probabilities: smoothed, of all classes, in class order.
        unknown: whether the label should not be relied upon; None where nobody asked.
        reason: why, as the latest doubtful frame said.
        changed: whether label or `unknown` differ from the answer before; true of the first.
    """

    label: str
    confidence: float
    probabilities: dict[str, float]
    unknown: bool | None
    reason: AbstentionReason | None
    changed: bool


class PredictionSmoother:
    """The steady answer of a stream of predictions."""

    def __init__(self, steadiness: SmoothingConfig) -> None:
        self._steadiness = steadiness
        self._labels = _HysteresisSelector(steadiness)
        self._doubt = _HysteresisSelector(steadiness)
        self._reason: AbstentionReason | None = None
        self._last: tuple[str, bool | None] | None = None

    def restart(self) -> None:
        """Forget the past: what comes next follows on nothing."""
        self._labels, self._doubt = _HysteresisSelector(self._steadiness), _HysteresisSelector(self._steadiness)

    def update(self, prediction: Prediction, time: float) -> SmoothedPrediction:
        """Take in what was said of the next frame.

        Args:
            prediction: of the frame, with the same classes every time.
            time: of the frame, in seconds, never less than before.
        """
        names = tuple(prediction.probabilities)
        best = self._labels.update(np.array([*prediction.probabilities.values()]), time)
        shares = self._labels.shares.tolist()
        unknown = self._unknown(prediction, time)
        now = names[best], unknown
        changed, self._last = now != self._last, now
        probabilities = dict(zip(names, shares, strict=True))
        reason = self._reason if unknown else None
        return SmoothedPrediction(names[best], shares[best], probabilities, unknown, reason, changed)

    def _unknown(self, prediction: Prediction, time: float) -> bool | None:
        """Steady what frames say of `unknown` as if sure and unsure were two labels."""
        if prediction.unknown is None:
            return None
        self._reason = prediction.reason or self._reason
        doubt = float(prediction.unknown)
        return bool(self._doubt.update(np.array([1 - doubt, doubt]), time))


class _HysteresisSelector:
    """Which of several shares leads, decided with hysteresis on their exponential means."""

    def __init__(self, steadiness: SmoothingConfig) -> None:
        self._set = steadiness
        self.shares = np.empty(0)
        self._time = 0.0
        self._chosen = -1
        self._challenger = -1
        self._since = 0.0

    def update(self, shares: np.ndarray, time: float) -> int:
        """Take in shares, float64 [n], that hold at a time; return the index of the one that is chosen."""
        if self._chosen < 0:
            self.shares, self._chosen = shares.astype(np.float64), int(shares.argmax())
        else:
            gone = max(0.0, time - self._time)
            weight = -math.expm1(-gone / self._set.seconds) if self._set.seconds > 0 else 1.0
            self.shares = self.shares + weight * (shares - self.shares)
        self._time = time
        self._decide(time)
        return self._chosen

    def _decide(self, time: float) -> None:
        best = int(self.shares.argmax())
        if best == self._chosen or self.shares[best] - self.shares[self._chosen] < self._set.margin:
            self._challenger = -1
            return
        if best != self._challenger:
            self._challenger, self._since = best, time
        if time - self._since >= self._set.hold - TIME_EPSILON:
            self._chosen, self._challenger = best, -1
