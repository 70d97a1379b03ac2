"""Prometheus metrics of one or several worker processes."""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from assay.core.files import temporary_folder
from assay.serving.telemetry import (
    BatchCompleted,
    CacheRequested,
    CorruptValueFound,
    DependencyStatus,
    Handlers,
    ModelActivated,
    QueueLengthChanged,
    RequestCompleted,
    RequestLogStatus,
    RequestRejected,
    StageCompleted,
)

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def multiprocess_metrics() -> Iterator[Path]:
    """Combine the metrics of all workers started in the block, and yield the temporary folder of the metrics.

    Use it in their parent process, before it or they import prometheus_client.
    """
    before = os.environ.get(MULTIPROCESS_VARIABLE)
    with temporary_folder("assay-metrics") as folder:
        os.environ[MULTIPROCESS_VARIABLE] = str(folder)
        try:
            yield folder
        finally:
            if before is None:
                del os.environ[MULTIPROCESS_VARIABLE]
            else:
                os.environ[MULTIPROCESS_VARIABLE] = before


def remove_dead_workers(folder: Path) -> None:
    """Delete the gauges of workers that have ended; their counters stay."""
    for path in folder.glob("gauge_live*_*.db"):
        if not _is_running(int(path.stem.rpartition("_")[2])):
            path.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


DURATION_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper bounds in seconds, finest where a small network answers."""
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64)


class PrometheusMetrics:
    """Counts events. Safe in several threads, and in several workers of one `multiprocess_metrics` block."""

    def __init__(self) -> None:
        """Raise `RuntimeError` if prometheus_client was imported before the block of `multiprocess_metrics` began."""
        self.registry = registry = CollectorRegistry()
        folder = os.environ.get(MULTIPROCESS_VARIABLE)
        self._folder = Path(folder) if folder else None

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self._requests = counter(
            "assay_requests_total", "Photos answered, and requests that failed before any", "status", "tier", "model"
        )
        self._abstained = counter("assay_abstained_total", "Photos for which the model abstained", "model")
        self._stages = Histogram(
            "assay_request_stage_seconds",
            "Time that a request spent in a stage",
            ("stage",),
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._batches = Histogram(
            "assay_batch_size",
            "Photos that passed through the model together",
            buckets=BATCH_SIZE_BUCKETS,
            registry=registry,
        )
        self._queue = live_sum_gauge("assay_queue_length", "Photos waiting for inference", registry=registry)
        self._rejected = counter("assay_rejected_total", "Requests rejected", "reason")
        self._cache = counter("assay_cache_requests_total", "Lookups in the result cache", "outcome")
        self._corrupt = counter(
            "assay_redis_corrupt_values_total", "Corrupt values in Redis, treated as missing", "store"
        )
        self._backlog = live_sum_gauge("assay_request_log_backlog", "Records not yet written", registry=registry)
        self._dropped = counter("assay_request_log_dropped_total", "Records dropped")
        self._dependencies = Gauge(
            "assay_dependency_up",
            "Whether an external store is available: 1, or 0 if it is not in at least one worker",
            ("dependency",),
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._models = live_sum_gauge(
            "assay_model_info", "Workers that serve this version", ("model", "version"), registry=registry
        )
        self._dropped_lines = counter("assay_log_dropped_total", "Log lines dropped")
        # Looking up a series by its labels takes longer than counting.
        self._request_series: dict[tuple[int, str, str], Counter] = {}
        self._stage_series: dict[str, Histogram] = {}
        self._lock = threading.Lock()
        self._dropped_before = 0
        self._versions: dict[str, str] = {}
        self.handlers: Handlers = {
            RequestCompleted: self._on_request,
            StageCompleted: self._on_stage,
            BatchCompleted: lambda event: self._batches.observe(event.size),
            QueueLengthChanged: lambda event: self._queue.set(event.length),
            RequestRejected: lambda event: self._rejected.labels(event.reason).inc(),
            CacheRequested: lambda event: self._cache.labels(event.outcome).inc(),
            CorruptValueFound: lambda event: self._corrupt.labels(event.store).inc(),
            RequestLogStatus: self._on_request_log,
            DependencyStatus: lambda event: self._dependencies.labels(event.dependency).set(event.up),
            ModelActivated: self._on_model,
        }
        self._check_multiprocess()

    def _on_request(self, event: RequestCompleted) -> None:
        record, tier = event
        # A name that is not a served model comes from the client: it must not create a series of its own.
        model = record.model if record.model in self._versions else "other"
        key = record.status, tier, model
        series = self._request_series.get(key)
        if series is None:
            series = self._request_series[key] = self._requests.labels(str(record.status), tier, model)
        series.inc()
        if record.unknown:
            self._abstained.labels(model).inc()

    def _on_stage(self, event: StageCompleted) -> None:
        series = self._stage_series.get(event.stage)
        if series is None:
            series = self._stage_series[event.stage] = self._stages.labels(event.stage)
        series.observe(event.seconds)

    def _on_request_log(self, event: RequestLogStatus) -> None:
        self._backlog.set(event.backlog)
        with self._lock:
            new, self._dropped_before = event.dropped - self._dropped_before, event.dropped
        self._dropped.inc(max(0, new))

    def _on_model(self, event: ModelActivated) -> None:
        with self._lock:
            before, self._versions[event.name] = self._versions.get(event.name), event.info.version
        if before is not None:
            # Series of several workers cannot be removed: a version that is no longer served stays at 0.
            self._models.labels(event.name, before).set(0)
        self._models.labels(event.name, event.info.version).set(1)

    def count_dropped_lines(self, lines: int) -> None:
        """Count log lines that could not be written."""
        self._dropped_lines.inc(lines)

    def collect(self) -> list[Metric]:
        """Return the metrics of all workers together."""
        source: _MetricSource = self.registry
        if self._folder is not None:
            remove_dead_workers(self._folder)
            source = _MULTIPROCESS_COLLECTOR(None, str(self._folder))
        return [_drop_created_samples(metric) for metric in source.collect()]

    def _check_multiprocess(self) -> None:
        if self._folder is not None and not any(self._folder.glob(f"*_{os.getpid()}.db")):
            raise RuntimeError(
                "prometheus_client was imported before the folder for several workers was created, so that they "
                "would not be counted together: enter multiprocess_metrics() first"
            )


def live_sum_gauge(name: str, text: str, labels: tuple[str, ...] = (), *, registry: CollectorRegistry) -> Gauge:
    """Return a gauge whose value is the sum over the workers that are alive."""
    return Gauge(name, text, labels, multiprocess_mode="livesum", registry=registry)


def render_metrics(metrics: Iterable[Metric]) -> tuple[bytes, str]:
    """Return body and content type of `GET /metrics`."""
    return generate_latest(_FixedCollector(metrics)), CONTENT_TYPE_LATEST


def _drop_created_samples(metric: Metric) -> Metric:
    """Remove the creation times of series, which prometheus_client has for one worker only."""
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
