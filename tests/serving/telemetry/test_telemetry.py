"""Events of the app update metrics, drift and logs, without photos, file names and IP addresses."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from assay.bundle import BundleInfo
from assay.serving.settings import TelemetrySettings
from assay.serving.telemetry import (
    BatchCompleted,
    CacheRequested,
    DependencyStatus,
    ModelActivated,
    QueueLengthChanged,
    RequestCompleted,
    RequestLogStatus,
    RequestRejected,
    StageCompleted,
    TelemetrySink,
)
from assay.serving.telemetry.telemetry import Telemetry, make_telemetry

Values = dict[tuple[str, ...], float]


@pytest.fixture
def telemetry(tmp_path: Path, info: BundleInfo) -> Iterator[Telemetry]:
    made = make_telemetry(TelemetrySettings(log_dir=tmp_path / "logs", drift_window=100), {"bottle": info}, {})
    yield made
    made.close()


def values(telemetry: Telemetry) -> Values:
    """The figures by name and labels."""
    text, kind = telemetry.render_metrics()
    assert kind.startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


def test_telemetry_is_a_telemetry_sink(telemetry: Telemetry):
    sink: TelemetrySink = telemetry
    with sink.request_scope("r1", {}):
        sink.emit(StageCompleted("decode", 0.004, ended=0.0))
    assert values(telemetry)["assay_request_stage_seconds_count", "decode"] == 1


def test_every_event_is_counted(telemetry: Telemetry, make_record):
    telemetry.emit(RequestCompleted(make_record(), "gold"))
    telemetry.emit(RequestCompleted(make_record(unknown=True), "gold"))
    telemetry.emit(RequestCompleted(make_record(status=503, result=None, confidence=None, unknown=None), "bronze"))
    telemetry.emit(StageCompleted("inference", 0.004))
    telemetry.emit(StageCompleted("inference", 0.2))
    telemetry.emit(BatchCompleted(3))
    telemetry.emit(QueueLengthChanged(7))
    telemetry.emit(QueueLengthChanged(5))
    telemetry.emit(RequestRejected("overload"))
    telemetry.emit(CacheRequested("hit"))
    telemetry.emit(RequestLogStatus(4, 2))
    telemetry.emit(RequestLogStatus(3, 5))
    telemetry.emit(DependencyStatus("cache", up=False))
    telemetry.emit(DependencyStatus("limits", up=False))
    telemetry.emit(DependencyStatus("limits", up=True))
    expected = {
        ("assay_requests_total", "200", "bottle", "gold"): 2,
        ("assay_requests_total", "503", "bottle", "bronze"): 1,
        ("assay_abstained_total", "bottle"): 1,
        ("assay_request_stage_seconds_bucket", "0.005", "inference"): 1,
        ("assay_request_stage_seconds_bucket", "0.25", "inference"): 2,
        ("assay_request_stage_seconds_sum", "inference"): 0.204,
        ("assay_batch_size_bucket", "2.0"): 0,
        ("assay_batch_size_bucket", "4.0"): 1,
        ("assay_queue_length",): 5,
        ("assay_rejected_total", "overload"): 1,
        ("assay_cache_requests_total", "hit"): 1,
        ("assay_request_log_backlog",): 3,
        ("assay_request_log_dropped_total",): 5,
        ("assay_dependency_up", "cache"): 0,
        ("assay_dependency_up", "limits"): 1,
        ("assay_model_info", "bottle", "v1"): 1,
        ("assay_log_dropped_total",): 0,
        ("assay_drift_predictions", "bottle", "class", "open"): 2,
        ("assay_drift_reference", "bottle", "class", "open"): 40,
    }
    found = values(telemetry)
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert not any(name.endswith("_created") for name, *_ in found)


def test_unknown_model_names_create_no_time_series(telemetry: Telemetry, make_record):
    for number in range(20):
        telemetry.emit(RequestCompleted(make_record(model=f"guess-{number}", status=404), "gold"))
    assert values(telemetry)["assay_requests_total", "404", "gold", "other"] == 20


def test_drift_is_reported_in_metrics_and_per_model(telemetry: Telemetry, make_record):
    for _ in range(99):
        telemetry.emit(RequestCompleted(make_record(), "gold"))
    assert ("assay_drift_psi", "bottle", "class") not in values(telemetry)
    for _ in range(301):
        telemetry.emit(RequestCompleted(make_record(result="closed", confidence=0.99), "gold"))
    found, result = values(telemetry), telemetry.drift("bottle")
    assert result is not None
    for subject in ("class", "confidence"):
        assert found["assay_drift_psi", "bottle", subject] == pytest.approx(result[subject]["psi"])
        assert result[subject]["psi"] > found["assay_drift_limit", "bottle", subject]
        assert result[subject]["drifted"] is True
        assert result[subject]["predictions"] == 100
    assert telemetry.drift("cat") is None
    json.dumps(result)


def test_new_version_resets_drift(telemetry: Telemetry, info: BundleInfo, make_record):
    telemetry.emit(RequestCompleted(make_record(), "gold"))
    telemetry.emit(ModelActivated("bottle", info.model_copy(update={"version": "v2", "metrics": {}})))
    found = values(telemetry)
    assert found["assay_model_info", "bottle", "v1"] == 0
    assert found["assay_model_info", "bottle", "v2"] == 1
    assert found["assay_drift_predictions", "bottle", "class", "open"] == 0
    assert telemetry.drift("bottle") is None
    telemetry.emit(ModelActivated("bottle", info))
    result = telemetry.drift("bottle")
    assert result is not None
    assert result["class"]["predictions"] == 0
    assert values(telemetry)["assay_model_info", "bottle", "v1"] == 1


def test_request_without_a_label_is_not_a_prediction(telemetry: Telemetry, make_record):
    telemetry.emit(RequestCompleted(make_record(status=400, result=None, confidence=None, unknown=None), "gold"))
    result = telemetry.drift("bottle")
    assert result is not None
    assert result["class"]["predictions"] == 0
