"""Do the latest answers look like those on validation photos? By class, and by confidence.

Knows nothing of HTTP and of how the figures are shown. Counts only: no answer is kept longer than the
window. A shift tells that what is asked has changed, not that answers are wrong.

Sources: N. Siddiqi, "Credit Risk Scorecards" (2006), for the population stability index and its customary
limit; B. Yurdakul and J. Naranjo, "Statistical properties of the population stability index" (2020), for what
chance alone makes of it; E. B. Wilson and M. M. Hilferty, "The distribution of chi-square" (1931).
"""

import math
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ValidationError

from assay.bundle import BundleInfo

Subject = Literal["class", "confidence"]
SUBJECTS: tuple[Subject, ...] = ("class", "confidence")
Bins = tuple[int, int]
"""Where an answer is counted: the row of its class, and that of its confidence."""

CUSTOMARY = 0.25
"""From here on a population counts as changed, by custom."""
LEAST = 100
"""Answers before which nothing is judged."""
_SURENESS = 3.09
"""Standard deviations: chance alone passes the limit once in a thousand windows."""
_DIGITS = 3
"""As the histogram in the bundle was counted."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the latest answers lie from validation.

    Attributes:
        psi: population stability index; 0 where both are alike.
        limit: what it takes to count as drift: the customary 0.25, or more where chance alone may reach that.
        answers: latest answers compared.
        drifted: whether `psi` is above `limit`; None while there are too few answers to tell.
    """

    psi: float
    limit: float
    answers: int
    drifted: bool | None


@dataclass(frozen=True, slots=True)
class Reference:
    """What a classifier said of its validation photos.

    Attributes:
        classes: names of the classes, in output order.
        class_counts: photos that it took for each class.
        edges: K ascending confidences that part the bins.
        confidence_counts: K + 1 numbers of photos.
    """

    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    edges: tuple[float, ...]
    confidence_counts: tuple[int, ...]

    @classmethod
    def of(cls, info: BundleInfo) -> Self | None:
        """Read a bundle's figures; None where it has none."""
        try:
            told = _Told.model_validate(info.metrics)
        except ValidationError:
            return None
        predicted = {one.name: one.predicted for one in told.val.classes}
        histogram = told.confidence.val.histogram
        counts = tuple(predicted.get(name, 0) for name in info.classes)
        if not sum(counts) or len(histogram.counts) != len(histogram.edges) + 1:
            return None
        return cls(info.classes, counts, tuple(histogram.edges), tuple(histogram.counts))

    def counts(self, subject: Subject) -> tuple[int, ...]:
        """Return the numbers of validation photos by bin."""
        return self.class_counts if subject == "class" else self.confidence_counts

    def bins(self, subject: Subject) -> tuple[str, ...]:
        """Return the bins' names: classes, or the least confidence of each bin."""
        return self.classes if subject == "class" else ("0", *(f"{edge:g}" for edge in self.edges))


class Window:
    """The latest answers of one model in one worker, as bins. Safe in several threads."""

    def __init__(self, reference: Reference, size: int) -> None:
        """Start empty.

        Args:
            reference: gives the bins.
            size: answers that are kept.
        """
        self.reference = reference
        self._rows = {name: row for row, name in enumerate(reference.classes)}
        self._latest: deque[Bins] = deque()
        self._size = size
        self._lock = threading.Lock()

    def add(self, label: str, confidence: float) -> tuple[Bins | None, Bins | None]:
        """Take an answer in, and let go of the oldest one where the window is full.

        Returns:
            The bins of the answer that came and those of the one that went; None where there is no such
            answer, as for a label that is no class.
        """
        row = self._rows.get(label)
        if row is None:
            return None, None
        came = row, bisect_right(self.reference.edges, round(confidence, _DIGITS))
        with self._lock:
            self._latest.append(came)
            return came, self._latest.popleft() if len(self._latest) > self._size else None

    def clear(self) -> list[Bins]:
        """Let go of all answers, and return their bins."""
        with self._lock:
            gone = list(self._latest)
            self._latest.clear()
        return gone


def shift(expected: Sequence[float], found: Sequence[float]) -> Shift:
    """Compare two populations by their counts in the same bins.

    Half a count is added to every bin, so that an empty one does not make the index infinite.

    Args:
        expected: B numbers of validation photos.
        found: B numbers of latest answers.
    """
    answers = round(sum(found))
    psi = population_stability_index(expected, found)
    limit = max(CUSTOMARY, chance(len(expected), sum(expected), answers)) if answers else CUSTOMARY
    return Shift(psi, limit, answers, None if answers < LEAST else psi > limit)


def population_stability_index(expected: Sequence[float], found: Sequence[float]) -> float:
    """Return Σ (a − e) ln(a / e) over the shares e and a of the bins, each count raised by a half."""
    half = 0.5 * len(expected)
    total_expected, total_found = sum(expected) + half, sum(found) + half
    pairs = zip(expected, found, strict=True)
    shares = [((e + 0.5) / total_expected, (a + 0.5) / total_found) for e, a in pairs]
    return sum((a - e) * math.log(a / e) for e, a in shares)


def chance(bins: int, expected: float, found: float) -> float:
    """Return the index that two samples of one population exceed once in a thousand times.

    Without any change it is distributed like (1/N + 1/M) χ² with B − 1 degrees of freedom.

    Args:
        bins: B.
        expected: N photos, above 0.
        found: M answers, above 0.
    """
    if bins < 2:
        return 0.0
    spread = 2 / (9 * (bins - 1))
    quantile = (bins - 1) * (1 - spread + _SURENESS * math.sqrt(spread)) ** 3
    return (1 / expected + 1 / found) * quantile


def describe(reference: Reference, found: Mapping[Subject, Sequence[float]]) -> dict[str, Any]:
    """Return what `GET /models` tells of one model's drift, ready for JSON."""
    told: dict[str, Any] = {}
    for subject in SUBJECTS:
        expected, counts = reference.counts(subject), found[subject]
        bins = zip(reference.bins(subject), _shares(expected), _shares(counts), strict=True)
        told[subject] = {
            **asdict(shift(expected, counts)),
            "shares": {name: {"validation": before, "latest": now} for name, before, now in bins},
        }
    return told


def _shares(counts: Sequence[float]) -> list[float | None]:
    total = sum(counts)
    return [count / total if total else None for count in counts]


class _Class(BaseModel):
    name: str
    predicted: int


class _Val(BaseModel):
    classes: list[_Class]


class _Histogram(BaseModel):
    edges: list[float]
    counts: list[int]


class _Judged(BaseModel):
    histogram: _Histogram


class _Confidence(BaseModel):
    val: _Judged


class _Told(BaseModel):
    val: _Val
    confidence: _Confidence
