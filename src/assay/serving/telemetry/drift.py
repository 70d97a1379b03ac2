"""Detect drift.

Compare the latest predictions with those on validation photos (population stability index), and export it
as metrics.
"""

import math
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from pydantic import BaseModel, ValidationError

from assay.bundle import BundleInfo
from assay.serving.request_record import RequestRecord
from assay.serving.telemetry.metrics import live_sum_gauge

Subject = Literal["class", "confidence"]
SUBJECTS: tuple[Subject, ...] = ("class", "confidence")
Bins = tuple[int, int]
"""Where an answer is counted: the row of its class, and that of its confidence."""

PSI_THRESHOLD = 0.25
"""From here on a population counts as changed, by custom."""
MIN_ANSWERS = 100
"""Answers before which nothing is judged."""
_CHANCE_Z = 3.09
"""Standard deviations: chance alone passes the limit once in a thousand windows."""
_CONFIDENCE_DIGITS = 3
"""As the histogram in the bundle was counted."""


@dataclass(frozen=True, slots=True)
class DriftResult:
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
class DriftReference:
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
            told = _BundleMetrics.model_validate(info.metrics)
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


class DriftWindow:
    """The latest answers of one model in one worker, as bins. Safe in several threads."""

    def __init__(self, reference: DriftReference, size: int) -> None:
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
        came = row, bisect_right(self.reference.edges, round(confidence, _CONFIDENCE_DIGITS))
        with self._lock:
            self._latest.append(came)
            return came, self._latest.popleft() if len(self._latest) > self._size else None

    def clear(self) -> list[Bins]:
        """Let go of all answers, and return their bins."""
        with self._lock:
            gone = list(self._latest)
            self._latest.clear()
        return gone


def measure_drift(expected: Sequence[float], found: Sequence[float]) -> DriftResult:
    """Compare two populations by their counts in the same bins.

    Half a count is added to every bin, so that an empty one does not make the index infinite.

    Args:
        expected: B numbers of validation photos.
        found: B numbers of latest answers.
    """
    answers = round(sum(found))
    psi = population_stability_index(expected, found)
    limit = max(PSI_THRESHOLD, chance_limit(len(expected), sum(expected), answers)) if answers else PSI_THRESHOLD
    return DriftResult(psi, limit, answers, None if answers < MIN_ANSWERS else psi > limit)


def population_stability_index(expected: Sequence[float], found: Sequence[float]) -> float:
    """Return Σ (a − e) ln(a / e) over the shares e and a of the bins, each count raised by a half."""
    half = 0.5 * len(expected)
    total_expected, total_found = sum(expected) + half, sum(found) + half
    pairs = zip(expected, found, strict=True)
    shares = [((e + 0.5) / total_expected, (a + 0.5) / total_found) for e, a in pairs]
    return sum((a - e) * math.log(a / e) for e, a in shares)


def chance_limit(bins: int, expected: float, found: float) -> float:
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
    quantile = (bins - 1) * (1 - spread + _CHANCE_Z * math.sqrt(spread)) ** 3
    return (1 / expected + 1 / found) * quantile


def drift_report(reference: DriftReference, found: Mapping[Subject, Sequence[float]]) -> dict[str, Any]:
    """Return what `GET /models` tells of one model's drift, ready for JSON."""
    told: dict[str, Any] = {}
    for subject in SUBJECTS:
        expected, counts = reference.counts(subject), found[subject]
        bins = zip(reference.bins(subject), _shares(expected), _shares(counts), strict=True)
        told[subject] = {
            **asdict(measure_drift(expected, counts)),
            "shares": {name: {"validation": before, "latest": now} for name, before, now in bins},
        }
    return told


def _shares(counts: Sequence[float]) -> list[float | None]:
    total = sum(counts)
    return [count / total if total else None for count in counts]


class _ClassMetrics(BaseModel):
    name: str
    predicted: int


class _ValidationMetrics(BaseModel):
    classes: list[_ClassMetrics]


class _ConfidenceHistogram(BaseModel):
    edges: list[float]
    counts: list[int]


class _SplitConfidence(BaseModel):
    histogram: _ConfidenceHistogram


class _ConfidenceMetrics(BaseModel):
    val: _SplitConfidence


class _BundleMetrics(BaseModel):
    val: _ValidationMetrics
    confidence: _ConfidenceMetrics


ANSWERS_METRIC = "assay_drift_answers"
REFERENCE_METRIC = "assay_drift_reference"
_LABELS = ("model", "subject", "bin")


class DriftMonitor:
    """Watches the answers of every model that knows its validation figures. Safe in several threads."""

    def __init__(self, registry: CollectorRegistry, size: int) -> None:
        """Make the gauges.

        Args:
            registry: of this worker's metrics.
            size: latest answers that are kept of each model.
        """
        self._size = size
        self._answers = live_sum_gauge(ANSWERS_METRIC, "Latest answers by bin", _LABELS, registry=registry)
        self._expected = Gauge(
            REFERENCE_METRIC, "Validation photos by bin", _LABELS, multiprocess_mode="livemax", registry=registry
        )
        self._lock = threading.Lock()
        self._watched: dict[str, _ModelDrift] = {}

    def model(self, name: str, info: BundleInfo) -> None:
        """Begin anew with the answers of a model that takes this name."""
        reference = DriftReference.of(info)
        with self._lock:
            before = self._watched.pop(name, None)
            if before is not None:
                before.clear()
                self._expect(name, before.window.reference, present=False)
            if reference is not None:
                self._expect(name, reference, present=True)
                self._watched[name] = _ModelDrift(DriftWindow(reference, self._size), self._answers, name)

    def answered(self, record: RequestRecord) -> None:
        """Count an answer that has a label."""
        watched = self._watched.get(record.model)
        if watched is not None and record.result is not None and record.confidence is not None:
            watched.add(record.result, record.confidence)

    def judge(self, collected: Iterable[Metric]) -> list[Metric]:
        """Return the index of every model and subject as metrics.

        Args:
            collected: the figures of all workers.
        """
        psi = GaugeMetricFamily("assay_drift_psi", "Population stability index against validation", labels=_LABELS[:2])
        limit = GaugeMetricFamily("assay_drift_limit", "Index from which on there is drift", labels=_LABELS[:2])
        found = _answer_counts(collected)
        for name, watched in list(self._watched.items()):
            for subject, counts in _counts_of_model(found, name, watched.window.reference).items():
                one = measure_drift(watched.window.reference.counts(subject), counts)
                if one.drifted is not None:
                    psi.add_metric((name, subject), one.psi)
                    limit.add_metric((name, subject), one.limit)
        return [psi, limit]

    def told(self, name: str, collected: Iterable[Metric]) -> dict[str, Any] | None:
        """Return one model's drift for `GET /models`; None where validation is not known."""
        watched = self._watched.get(name)
        if watched is None:
            return None
        reference = watched.window.reference
        return drift_report(reference, _counts_of_model(_answer_counts(collected), name, reference))

    def _expect(self, name: str, reference: DriftReference, *, present: bool) -> None:
        for subject in SUBJECTS:
            for label, count in zip(reference.bins(subject), reference.counts(subject), strict=True):
                self._expected.labels(name, subject, label).set(count if present else 0)


class _ModelDrift:
    """A window whose counts are gauges."""

    def __init__(self, window: DriftWindow, gauge: Gauge, name: str) -> None:
        self.window = window
        self._gauges = [
            [gauge.labels(name, subject, label) for label in window.reference.bins(subject)] for subject in SUBJECTS
        ]

    def add(self, label: str, confidence: float) -> None:
        came, went = self.window.add(label, confidence)
        if came is None:
            return
        for subject, gauges in enumerate(self._gauges):
            if went is None:
                gauges[came[subject]].inc()
            elif came[subject] != went[subject]:
                gauges[came[subject]].inc()
                gauges[went[subject]].dec()

    def clear(self) -> None:
        for went in self.window.clear():
            for subject, gauges in enumerate(self._gauges):
                gauges[went[subject]].dec()


_AnswerCounts = dict[tuple[str, str, str], float]


def _answer_counts(collected: Iterable[Metric]) -> _AnswerCounts:
    return {
        (sample.labels["model"], sample.labels["subject"], sample.labels["bin"]): sample.value
        for metric in collected
        if metric.name == ANSWERS_METRIC
        for sample in metric.samples
    }


def _counts_of_model(found: _AnswerCounts, name: str, reference: DriftReference) -> dict[Subject, Sequence[float]]:
    return {
        subject: [found.get((name, subject, label), 0.0) for label in reference.bins(subject)] for subject in SUBJECTS
    }
