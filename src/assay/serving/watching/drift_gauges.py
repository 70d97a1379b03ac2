"""Drift as metrics: every worker counts its latest answers, and the index is that of all workers together.

Knows how drift is judged only by calling `drift`.
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from assay.bundle import BundleInfo
from assay.serving.record import Record
from assay.serving.watching.drift import SUBJECTS, Reference, Subject, Window, describe, shift
from assay.serving.watching.metrics import gauge_of_workers

ANSWERS = "assay_drift_answers"
REFERENCE = "assay_drift_reference"
_LABELS = ("model", "subject", "bin")


class DriftGauges:
    """Watches the answers of every model that knows its validation figures. Safe in several threads."""

    def __init__(self, registry: CollectorRegistry, size: int) -> None:
        """Make the gauges.

        Args:
            registry: of this worker's metrics.
            size: latest answers that are kept of each model.
        """
        self._size = size
        self._answers = gauge_of_workers(ANSWERS, "Latest answers by bin", _LABELS, registry=registry)
        self._expected = Gauge(
            REFERENCE, "Validation photos by bin", _LABELS, multiprocess_mode="livemax", registry=registry
        )
        self._lock = threading.Lock()
        self._watched: dict[str, _Watched] = {}

    def model(self, name: str, info: BundleInfo) -> None:
        """Begin anew with the answers of a model that takes this name."""
        reference = Reference.of(info)
        with self._lock:
            before = self._watched.pop(name, None)
            if before is not None:
                before.clear()
                self._expect(name, before.window.reference, present=False)
            if reference is not None:
                self._expect(name, reference, present=True)
                self._watched[name] = _Watched(Window(reference, self._size), self._answers, name)

    def answered(self, record: Record) -> None:
        """Count an answer that has a label."""
        watched = self._watched.get(record.model)
        if watched is not None and record.result is not None and record.confidence is not None:
            watched.add(record.result, record.confidence)

    def judge(self, collected: Iterable[Metric]) -> list[Metric]:
        """Return the index of every model and subject as metrics.

        Args:
            collected: the figures of all workers.
        """
        psi = GaugeMetricFamily(
            "assay_drift_psi", "Population stability index against validation", labels=_LABELS[:2]
        )
        limit = GaugeMetricFamily(
            "assay_drift_limit", "Index from which on there is drift", labels=_LABELS[:2]
        )
        found = _found(collected)
        for name, watched in list(self._watched.items()):
            for subject, counts in _of_model(found, name, watched.window.reference).items():
                one = shift(watched.window.reference.counts(subject), counts)
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
        return describe(reference, _of_model(_found(collected), name, reference))

    def _expect(self, name: str, reference: Reference, *, present: bool) -> None:
        for subject in SUBJECTS:
            for label, count in zip(reference.bins(subject), reference.counts(subject), strict=True):
                self._expected.labels(name, subject, label).set(count if present else 0)


class _Watched:
    """A window whose counts are gauges."""

    def __init__(self, window: Window, gauge: Gauge, name: str) -> None:
        self.window = window
        self._gauges = [
            [gauge.labels(name, subject, label) for label in window.reference.bins(subject)]
            for subject in SUBJECTS
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


_Found = dict[tuple[str, str, str], float]


def _found(collected: Iterable[Metric]) -> _Found:
    return {
        (sample.labels["model"], sample.labels["subject"], sample.labels["bin"]): sample.value
        for metric in collected
        if metric.name == ANSWERS
        for sample in metric.samples
    }


def _of_model(found: _Found, name: str, reference: Reference) -> dict[Subject, Sequence[float]]:
    return {
        subject: [found.get((name, subject, label), 0.0) for label in reference.bins(subject)]
        for subject in SUBJECTS
    }
