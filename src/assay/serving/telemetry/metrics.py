"""Prometheus metrics of the server, combined over its worker processes."""

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from assay.bundle import BundleInfo
from assay.serving.request_record import RequestRecord
from assay.serving.telemetry.prometheus_multiprocess import MULTIPROCESS_VARIABLE, remove_dead_workers

DURATION_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper ends of the buckets of every duration: finest where a small network answers."""
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
"""Upper ends of the buckets of batch sizes."""


class Metrics:
    """Counts what happens. Safe in several threads, and in several workers of one `multiprocess_metrics` block."""

    def __init__(self) -> None:
        """Make every metric.

        Raises:
            RuntimeError: prometheus_client was imported before the block of `multiprocess_metrics` began.
        """
        self.registry = registry = CollectorRegistry()
        folder = os.environ.get(MULTIPROCESS_VARIABLE)
        self._folder = Path(folder) if folder else None
        self._requests = Counter(
            "assay_requests_total",
            "Photos that were answered, or requests that got as far as none",
            ("status", "tier", "model"),
            registry=registry,
        )
        self._unknown = Counter("assay_abstained_total", "Photos called unknown", ("model",), registry=registry)
        self._phases = Histogram(
            "assay_request_stage_seconds",
            "Time that a request spent in a stage",
            ("stage",),
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._batches = Histogram(
            "assay_batch_size",
            "Photos that went through the model together",
            buckets=BATCH_SIZE_BUCKETS,
            registry=registry,
        )
        self._queue = live_sum_gauge("assay_queue_length", "Photos that wait", registry=registry)
        self._rejected = Counter("assay_rejected_total", "Requests turned away", ("reason",), registry=registry)
        self._cache = Counter("assay_cache_requests_total", "Looks into the cache", ("event",), registry=registry)
        self._damaged = Counter(
            "assay_redis_corrupt_values_total",
            "Values in Redis that were damaged, and counted as missing",
            ("part",),
            registry=registry,
        )
        self._backlog = live_sum_gauge(
            "assay_request_log_backlog", "Records that wait to be written", registry=registry
        )
        self._dropped = Counter("assay_request_log_dropped_total", "Records given up", registry=registry)
        self._degraded = live_sum_gauge(
            "assay_degraded", "Workers in which a part does without its store", ("part",), registry=registry
        )
        self._models = live_sum_gauge(
            "assay_model_info",
            "Workers that answer with this version",
            ("model", "version"),
            registry=registry,
        )
        self._unlogged = Counter("assay_log_dropped_total", "Lines of the request log given up", registry=registry)
        # Looking a series up by its labels takes longer than counting.
        self._counters: dict[tuple[int, str, str], Counter] = {}
        self._durations: dict[str, Histogram] = {}
        self._lock = threading.Lock()
        self._told_dropped = 0
        self._versions: dict[str, str] = {}
        self._check()

    def answered(self, record: RequestRecord, tier: str) -> None:
        """Count an answer."""
        # A name that is no model comes from the client: it must not make a series of its own.
        model = record.model if record.model in self._versions else "other"
        key = record.status, tier, model
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(str(record.status), tier, model)
        counter.inc()
        if record.unknown:
            self._unknown.labels(model).inc()

    def phase(self, name: str, seconds: float) -> None:
        """Count a duration."""
        histogram = self._durations.get(name)
        if histogram is None:
            histogram = self._durations[name] = self._phases.labels(name)
        histogram.observe(seconds)

    def batch(self, size: int) -> None:
        """Count a batch."""
        self._batches.observe(size)

    def queue_length(self, length: int) -> None:
        """Set how many photos wait in this worker."""
        self._queue.set(length)

    def rejected(self, reason: str) -> None:
        """Count a refusal."""
        self._rejected.labels(reason).inc()

    def cache(self, event: str) -> None:
        """Count a look into the cache."""
        self._cache.labels(event).inc()

    def damaged(self, part: str) -> None:
        """Count a damaged value in Redis."""
        self._damaged.labels(part).inc()

    def journal(self, backlog: int, dropped: int) -> None:
        """Set the backlog of this worker, and count what was given up since it was last told."""
        self._backlog.set(backlog)
        with self._lock:
            more, self._told_dropped = dropped - self._told_dropped, dropped
        self._dropped.inc(max(0, more))

    def degraded(self, part: str, *, down: bool) -> None:
        """Set whether a part of this worker does without its store."""
        self._degraded.labels(part).set(down)

    def model(self, name: str, info: BundleInfo) -> None:
        """Set which version answers under a name in this worker."""
        with self._lock:
            before, self._versions[name] = self._versions.get(name), info.version
        if before is not None:
            # Series of several workers cannot be removed: a version that no one answers with stays at 0.
            self._models.labels(name, before).set(0)
        self._models.labels(name, info.version).set(1)

    def unlogged(self, lines: int) -> None:
        """Count lines that the request log had no room for."""
        self._unlogged.inc(lines)

    def collect(self) -> list[Metric]:
        """Return the figures of all workers together."""
        source: _MetricSource = self.registry
        if self._folder is not None:
            remove_dead_workers(self._folder)
            source = _MULTIPROCESS_COLLECTOR(None, str(self._folder))
        return [_drop_created_samples(metric) for metric in source.collect()]

    def _check(self) -> None:
        if self._folder is not None and not any(self._folder.glob(f"*_{os.getpid()}.db")):
            raise RuntimeError(
                "prometheus_client was imported before the folder for several workers was made, so they "
                "would not count together: enter multiprocess_metrics() first"
            )


def live_sum_gauge(name: str, text: str, labels: tuple[str, ...] = (), *, registry: CollectorRegistry) -> Gauge:
    """Make a gauge whose value is the sum over the workers that are alive."""
    return Gauge(name, text, labels, multiprocess_mode="livesum", registry=registry)


def render_metrics(metrics: Iterable[Metric]) -> tuple[bytes, str]:
    """Return the body of `GET /metrics` and its content type."""
    return generate_latest(_FixedCollector(metrics)), CONTENT_TYPE_LATEST


def _drop_created_samples(metric: Metric) -> Metric:
    """Leave out when a series began, which is told of one worker only."""
    metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
    return metric


class _MetricSource(Protocol):
    def collect(self) -> Iterable[Metric]: ...


_MULTIPROCESS_COLLECTOR: Callable[[None, str], _MetricSource] = MultiProcessCollector


class _FixedCollector(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
