"""Detect drift: compare the latest predictions with those on validation photos, and export it as metrics.

Predictions are counted by class and by confidence; only counts are kept. Drift means that the inputs have
changed, not that predictions are wrong.

Sources: N. Siddiqi, "Credit Risk Scorecards" (2006), for the population stability index (PSI) and its customary
threshold; B. Yurdakul and J. Naranjo, "Statistical properties of the population stability index" (2020), for its
distribution by chance; E. B. Wilson and M. M. Hilferty, "The distribution of chi-square" (1931).
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
from assay.serving.telemetry import Handlers, ModelActivated, RequestCompleted
from assay.serving.telemetry.metrics import live_sum_gauge

Subject = Literal["class", "confidence"]
SUBJECTS: tuple[Subject, ...] = ("class", "confidence")
Bins = tuple[int, int]
"""Bins of a prediction: index of its class, and index of its confidence bin."""

PSI_THRESHOLD = 0.25
"""Customary threshold above which a population counts as changed."""
MIN_PREDICTIONS = 100
"""Predictions needed before drift is measured."""
_CHANCE_Z = 3.09
"""Standard deviations: by chance, one window in a thousand exceeds the limit."""
_CONFIDENCE_DIGITS = 3
"""Rounding of the confidences in the bundle's histogram."""


@dataclass(frozen=True, slots=True)
class DriftResult:
    """Difference between the latest predictions and those on validation photos.

    Attributes:
        psi: population stability index; 0 if the distributions are equal.
        limit: PSI above which there is drift: 0.25, or more if so few predictions may reach that by chance.
        drifted: whether `psi` is above `limit`; None if there are too few predictions.
    """

    psi: float
    limit: float
    predictions: int
    drifted: bool | None


@dataclass(frozen=True, slots=True)
class DriftReference:
    """Distribution of a classifier's predictions on its validation photos.

    Attributes:
        class_counts: photos predicted as each class, in output order.
        edges: K ascending confidences that separate the bins.
        confidence_counts: K + 1 numbers of photos.
    """

    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    edges: tuple[float, ...]
    confidence_counts: tuple[int, ...]

    @classmethod
    def of(cls, info: BundleInfo) -> Self | None:
        """Read the distribution from a bundle's metrics; None if it has none."""
        try:
            metrics = _BundleMetrics.model_validate(info.metrics)
        except ValidationError:
            return None
        predicted = {entry.name: entry.predicted for entry in metrics.val.classes}
        histogram = metrics.confidence.val.histogram
        counts = tuple(predicted.get(name, 0) for name in info.classes)
        if not sum(counts) or len(histogram.counts) != len(histogram.edges) + 1:
            return None
        return cls(info.classes, counts, tuple(histogram.edges), tuple(histogram.counts))

    def counts(self, subject: Subject) -> tuple[int, ...]:
        """Return the number of validation photos in each bin."""
        return self.class_counts if subject == "class" else self.confidence_counts

    def bins(self, subject: Subject) -> tuple[str, ...]:
        """Return the names of the bins: classes, or the lowest confidence of each bin."""
        return self.classes if subject == "class" else ("0", *(f"{edge:g}" for edge in self.edges))


class DriftWindow:
    """Bins of the latest predictions of one model in one worker. Thread-safe."""

    def __init__(self, reference: DriftReference, size: int) -> None:
        self.reference = reference
        self._class_indices = {name: index for index, name in enumerate(reference.classes)}
        self._latest: deque[Bins] = deque()
        self._size = size
        self._lock = threading.Lock()

    def add(self, label: str, confidence: float) -> tuple[Bins | None, Bins | None]:
        """Add a prediction, remove the oldest one if the window is full, and return the bins of both.

        Bins are None if nothing was added (the label is not a class) or nothing was removed.
        """
        index = self._class_indices.get(label)
        if index is None:
            return None, None
        added = index, bisect_right(self.reference.edges, round(confidence, _CONFIDENCE_DIGITS))
        with self._lock:
            self._latest.append(added)
            return added, self._latest.popleft() if len(self._latest) > self._size else None

    def clear(self) -> list[Bins]:
        """Remove all predictions, and return their bins."""
        with self._lock:
            removed = list(self._latest)
            self._latest.clear()
        return removed


def measure_drift(expected: Sequence[float], found: Sequence[float]) -> DriftResult:
    """Compare two distributions given as counts in the same B bins: validation photos and latest predictions."""
    predictions = round(sum(found))
    psi = population_stability_index(expected, found)
    limit = PSI_THRESHOLD
    if predictions:
        limit = max(limit, chance_limit(len(expected), sum(expected), predictions))
    return DriftResult(psi, limit, predictions, None if predictions < MIN_PREDICTIONS else psi > limit)


def population_stability_index(expected: Sequence[float], found: Sequence[float]) -> float:
    """Return Σ (a − e) ln(a / e) over the shares e and a of the bins.

    Half a count is added to every bin, so that an empty one does not make the index infinite.
    """
    half = 0.5 * len(expected)
    total_expected, total_found = sum(expected) + half, sum(found) + half
    pairs = zip(expected, found, strict=True)
    shares = [((e + 0.5) / total_expected, (a + 0.5) / total_found) for e, a in pairs]
    return sum((a - e) * math.log(a / e) for e, a in shares)


def chance_limit(bins: int, expected: float, found: float) -> float:
    """Return the PSI that samples of N (`expected`) and M (`found`) of one population exceed once in a thousand times.

    It is distributed like (1/N + 1/M) χ² with `bins` − 1 degrees of freedom.
    """
    if bins < 2:
        return 0.0
    spread = 2 / (9 * (bins - 1))
    quantile = (bins - 1) * (1 - spread + _CHANCE_Z * math.sqrt(spread)) ** 3
    return (1 / expected + 1 / found) * quantile


def drift_report(reference: DriftReference, found: Mapping[Subject, Sequence[float]]) -> dict[str, Any]:
    """Return the drift of one model, for JSON in `GET /models`."""
    report: dict[str, Any] = {}
    for subject in SUBJECTS:
        expected, counts = reference.counts(subject), found[subject]
        bins = zip(reference.bins(subject), _shares(expected), _shares(counts), strict=True)
        report[subject] = {
            **asdict(measure_drift(expected, counts)),
            "shares": {name: {"validation": before, "latest": now} for name, before, now in bins},
        }
    return report


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


PREDICTIONS_METRIC = "assay_drift_predictions"
REFERENCE_METRIC = "assay_drift_reference"
_LABELS = ("model", "subject", "bin")
_Counts = dict[tuple[str, str, str], float]


class DriftMonitor:
    """Counts the latest predictions of each model as gauges, so that drift is measured over all workers. Thread-safe.

    Models whose bundle has no validation metrics are ignored.
    """

    def __init__(self, registry: CollectorRegistry, size: int) -> None:
        """`size` is the number of predictions kept for each model."""
        self._size = size
        self._latest = live_sum_gauge(PREDICTIONS_METRIC, "Latest predictions by bin", _LABELS, registry=registry)
        self._expected = Gauge(
            REFERENCE_METRIC, "Validation photos by bin", _LABELS, multiprocess_mode="livemax", registry=registry
        )
        self._lock = threading.Lock()
        self._models: dict[str, _ModelDrift] = {}
        self.handlers: Handlers = {RequestCompleted: self._on_request, ModelActivated: self._on_model}

    def _on_model(self, event: ModelActivated) -> None:
        reference = DriftReference.of(event.info)
        with self._lock:
            before = self._models.pop(event.name, None)
            if before is not None:
                before.clear()
                self._set_reference(event.name, before.window.reference, present=False)
            if reference is not None:
                self._set_reference(event.name, reference, present=True)
                window = DriftWindow(reference, self._size)
                self._models[event.name] = _ModelDrift(window, self._latest, event.name)

    def _on_request(self, event: RequestCompleted) -> None:
        record = event.record
        model = self._models.get(record.model)
        if model is not None and record.result is not None and record.confidence is not None:
            model.add(record.result, record.confidence)

    def collect(self, collected: Iterable[Metric]) -> list[Metric]:
        """Return PSI and limit of every model and subject as metrics, from the metrics of all workers."""
        psi = GaugeMetricFamily("assay_drift_psi", "Population stability index against validation", labels=_LABELS[:2])
        limit = GaugeMetricFamily("assay_drift_limit", "Index above which there is drift", labels=_LABELS[:2])
        counts = _read_counts(collected)
        for name, model in list(self._models.items()):
            reference = model.window.reference
            for subject, found in _counts_of_model(counts, name, reference).items():
                result = measure_drift(reference.counts(subject), found)
                if result.drifted is not None:
                    psi.add_metric((name, subject), result.psi)
                    limit.add_metric((name, subject), result.limit)
        return [psi, limit]

    def report(self, name: str, collected: Iterable[Metric]) -> dict[str, Any] | None:
        """Return one model's drift for `GET /models`; None without validation metrics."""
        model = self._models.get(name)
        if model is None:
            return None
        reference = model.window.reference
        return drift_report(reference, _counts_of_model(_read_counts(collected), name, reference))

    def _set_reference(self, name: str, reference: DriftReference, *, present: bool) -> None:
        for subject in SUBJECTS:
            for label, count in zip(reference.bins(subject), reference.counts(subject), strict=True):
                self._expected.labels(name, subject, label).set(count if present else 0)


class _ModelDrift:
    def __init__(self, window: DriftWindow, gauge: Gauge, name: str) -> None:
        self.window = window
        self._gauges = [
            [gauge.labels(name, subject, label) for label in window.reference.bins(subject)] for subject in SUBJECTS
        ]

    def add(self, label: str, confidence: float) -> None:
        added, removed = self.window.add(label, confidence)
        if added is None:
            return
        for subject, gauges in enumerate(self._gauges):
            if removed is None:
                gauges[added[subject]].inc()
            elif added[subject] != removed[subject]:
                gauges[added[subject]].inc()
                gauges[removed[subject]].dec()

    def clear(self) -> None:
        for removed in self.window.clear():
            for subject, gauges in enumerate(self._gauges):
                gauges[removed[subject]].dec()


def _read_counts(collected: Iterable[Metric]) -> _Counts:
    return {
        (sample.labels["model"], sample.labels["subject"], sample.labels["bin"]): sample.value
        for metric in collected
        if metric.name == PREDICTIONS_METRIC
        for sample in metric.samples
    }


def _counts_of_model(counts: _Counts, name: str, reference: DriftReference) -> dict[Subject, Sequence[float]]:
    return {
        subject: [counts.get((name, subject, label), 0.0) for label in reference.bins(subject)] for subject in SUBJECTS
    }
