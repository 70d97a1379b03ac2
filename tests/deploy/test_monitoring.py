"""Prometheus rules and the Grafana dashboard use existing metrics and behave as intended."""

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parse
from services import find_program

from assay.bundle import BundleInfo
from assay.recipe import PreprocessSpec
from assay.serving.request_record import RequestRecord
from assay.serving.settings import TelemetrySettings
from assay.serving.telemetry import (
    BatchCompleted,
    CacheRequested,
    CorruptValueFound,
    DependencyStatus,
    RequestCompleted,
    RequestRejected,
    StageCompleted,
)
from assay.serving.telemetry.drift import measure_drift
from assay.serving.telemetry.telemetry import make_telemetry

_PROMETHEUS = {"up"}
_NAME = re.compile(r"(?<![\w:{$\"])(?:assay[_:][\w:]+|up)(?![\w:(])")


@pytest.fixture(scope="module")
def metric_names() -> set[str]:
    """The names that a server that has seen everything shows."""
    metrics: dict[str, Any] = {
        "val": {"classes": [{"name": "a", "predicted": 6}, {"name": "b", "predicted": 4}]},
        "confidence": {"val": {"histogram": {"edges": [0.9], "counts": [5, 5]}}},
    }
    pixels = PreprocessSpec(mean=(0, 0, 0), std=(1, 1, 1))
    info = BundleInfo(name="m", version="1", classes=("a", "b"), preprocess=pixels, metrics=metrics)
    telemetry = make_telemetry(TelemetrySettings(log_level="error"), {"m": info}, {})
    record = RequestRecord(
        request_id="r",
        timestamp=datetime.now(UTC),
        client_id="c",
        image=None,
        result="a",
        confidence=0.95,
        unknown=True,
        processing_time=0.01,
        model="m",
        model_version="1",
        cache_hit=False,
        status=200,
    )
    for _ in range(100):
        telemetry.emit(RequestCompleted(record, "gold"))
    telemetry.emit(StageCompleted("total", 0.01))
    telemetry.emit(BatchCompleted(1))
    telemetry.emit(RequestRejected("overload"))
    telemetry.emit(CacheRequested("hit"))
    telemetry.emit(DependencyStatus("cache", up=True))
    telemetry.emit(CorruptValueFound("cache"))
    text = telemetry.render_metrics()[0].decode()
    telemetry.close()
    return {sample.name for family in parse(text) for sample in family.samples}


def test_every_metric_is_documented(deploy: Path, metric_names: set[str]):
    text = (deploy.parent / "docs/how-to/cluster.md").read_text(encoding="utf-8")
    written = set(re.findall(r"`(assay_\w+)`", text))
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in metric_names}
    assert written == shown


@pytest.fixture
def rules(deploy: Path) -> list[dict[str, Any]]:
    result = yaml.safe_load((deploy / "rules.yml").read_text(encoding="utf-8"))
    return [rule for group in result["groups"] for rule in group["rules"]]


@pytest.fixture
def dashboard(deploy: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((deploy / "grafana/assay.json").read_text(encoding="utf-8"))
    return result


def names(expression: str) -> Iterator[str]:
    yield from _NAME.findall(expression)


def test_rules_use_existing_metrics(rules: list[dict[str, Any]], metric_names: set[str]):
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for rule in rules:
        found = set(names(rule["expr"]))
        assert found, rule
        assert found <= metric_names | recorded | _PROMETHEUS, rule


def test_every_alert_has_a_description(rules: list[dict[str, Any]]):
    alerts = [rule for rule in rules if "alert" in rule]
    assert len(alerts) >= 8
    for alert in alerts:
        assert alert["labels"]["severity"] in {"warning", "critical"}
        assert alert["annotations"]["summary"]


def test_dashboard_uses_existing_metrics(
    dashboard: dict[str, Any], rules: list[dict[str, Any]], metric_names: set[str]
):
    recorded = {rule["record"] for rule in rules if "record" in rule}
    shown: set[str] = set()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            found = set(names(target["expr"]))
            assert found, panel["title"]
            assert found <= metric_names | recorded, panel["title"]
            shown |= found
    (variable,) = dashboard["templating"]["list"]
    assert re.findall(r"label_values\((\w+)", variable["definition"])[0] in metric_names
    assert {name for name in recorded if "rate5m" not in name and "p99" not in name} <= shown


def test_panels_do_not_overlap_and_have_a_data_source(dashboard: dict[str, Any], deploy: Path):
    source = yaml.safe_load((deploy / "grafana/datasource.yml").read_text(encoding="utf-8"))["datasources"][0]
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        for item in [panel, *panel.get("targets", ())]:
            if panel["type"] != "row":
                assert item["datasource"]["uid"] == source["uid"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_provisioned_files_exist(deploy: Path):
    compose = yaml.safe_load((deploy / "compose.yaml").read_text(encoding="utf-8"))
    grafana = compose["services"]["grafana"]
    provider = yaml.safe_load((deploy / "grafana/provider.yml").read_text(encoding="utf-8"))["providers"][0]
    targets = [volume.split(":")[1] for volume in grafana["volumes"]]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in targets
    assert str(Path(home).parent) == provider["options"]["path"]


def test_promtool_accepts_the_configuration(deploy: Path, tmp_path: Path):
    key = tmp_path / "metrics.key"
    key.write_text("ak_0.x", encoding="utf-8")
    text = (deploy / "prometheus.yml").read_text(encoding="utf-8")
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/metrics.key", str(key)), encoding="utf-8")
    (tmp_path / "rules.yml").write_bytes((deploy / "rules.yml").read_bytes())
    run = subprocess.run(
        [find_program("promtool"), "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_rules_fire_as_intended(deploy: Path, tmp_path: Path):
    """Two servers whose answers have turned from 60:40 to 30:70; one of them is down later, and one slow."""
    psi = measure_drift([60, 40], [300, 700]).psi
    series = {
        'assay_drift_predictions{model="m",subject="class",bin="a",instance="1"}': "100x40",
        'assay_drift_predictions{model="m",subject="class",bin="b",instance="1"}': "400x40",
        'assay_drift_predictions{model="m",subject="class",bin="a",instance="2"}': "200x40",
        'assay_drift_predictions{model="m",subject="class",bin="b",instance="2"}': "300x40",
        'assay_drift_reference{model="m",subject="class",bin="a",instance="1"}': "60x40",
        'assay_drift_reference{model="m",subject="class",bin="b",instance="1"}': "40x40",
        'assay_drift_reference{model="m",subject="class",bin="a",instance="2"}': "60x40",
        'assay_drift_reference{model="m",subject="class",bin="b",instance="2"}': "40x40",
        'assay_drift_limit{model="m",subject="class",instance="1"}': "0.25x40",
        'assay_requests_total{status="200",tier="gold",model="m",instance="1"}': "0+98x40",
        'assay_requests_total{status="500",tier="gold",model="m",instance="1"}': "0+2x40",
        'assay_requests_total{status="503",tier="gold",model="m",instance="1"}': "0+100x40",
        'assay_cache_requests_total{outcome="hit",instance="1"}': "0+30x40",
        'assay_cache_requests_total{outcome="miss",instance="1"}': "0+10x40",
        'assay_model_info{model="m",version="1",instance="1"}': "1x40",
        'assay_model_info{model="m",version="2",instance="2"}': "1x40",
        'up{job="assay",instance="1"}': "1x40",
        'up{job="assay",instance="2"}': "1x20 0x20",
    }

    def alerts(name: str, labels: dict[str, str], summary: str, severity: str) -> dict[str, Any]:
        result = {"exp_labels": {**labels, "severity": severity}, "exp_annotations": {"summary": summary}}
        return {"eval_time": "30m", "alertname": name, "exp_alerts": [result]}

    down = alerts("AssayDown", {"job": "assay", "instance": "2"}, "2 has been down for a minute", "critical")
    drift = alerts(
        "AssayDrift",
        {"model": "m", "subject": "class"},
        "The latest predictions of m differ from validation by class",
        "warning",
    )
    versions = alerts("AssayVersionsDiffer", {"model": "m"}, "m is served in 2 versions at once", "warning")

    def value(expression: str, expected: float, labels: str) -> dict[str, Any]:
        sample = {"labels": labels, "value": expected}
        return {"expr": expression, "eval_time": "30m", "exp_samples": [sample]}

    test = {
        "rule_files": [str(deploy / "rules.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    down,
                    drift,
                    versions,
                    {"eval_time": "15m", "alertname": "AssayDown", "exp_alerts": []},
                    {"eval_time": "30m", "alertname": "AssayErrors", "exp_alerts": []},
                ],
                "promql_expr_test": [
                    value("round(assay:drift:psi, 1e-6)", round(psi, 6), '{model="m", subject="class"}'),
                    value("round(assay:errors:share5m, 1e-6)", 0.01, "{}"),
                    value("round(assay:cache_hits:share5m, 1e-6)", 0.75, "{}"),
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(test), encoding="utf-8")
    run = subprocess.run([find_program("promtool"), "test", "rules", path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
