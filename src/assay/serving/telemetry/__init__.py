"""Metrics, drift detection, logs and traces of a running server."""

from assay.serving.telemetry.events import MetricsSink
from assay.serving.telemetry.prometheus_multiprocess import multiprocess_metrics
from assay.serving.telemetry.settings import LogLevel, TelemetrySettings

__all__ = ["LogLevel", "MetricsSink", "TelemetrySettings", "multiprocess_metrics"]
