"""The command `assay bench`: table, JSON and figure."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from assay.inference import WORKLOADS, Classifier


def test_prints_a_table_and_writes_files(assay, colours_bundle: Path, colours: Path, tmp_path: Path):
    result = assay("bench", colours_bundle, colours, "--seconds", "0.4", "--no-workloads", "--to", tmp_path)
    assert result.code == 0, result.err
    for word in ("openvino fp32", "onnxruntime fp32", "p99 ms", "images/s", "accuracy", "load"):
        assert word in result.out
    assert "80 photos" in result.out
    assert max(len(line) for line in result.out.split("latency, throughput")[0].splitlines()) <= 80
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "bench.png"}
    # The photos that the bundle was made from.
    assert "warning" in result.out


def test_json_output(assay, colours_bundle: Path):
    result = assay("bench", colours_bundle, "--seconds", "0.4", "--no-workloads", "--json")
    values = json.loads(result.out)
    assert {"openvino", "onnxruntime"} <= {item["engine"] for item in values["combinations"]}
    assert values["combinations"][0]["latency_ms"]["p50"]["median"] > 0
    assert values["machine"]["processors"]["usable"] >= 1


@pytest.mark.slow
def test_workloads_are_measured_for_later_loads(assay, colours_bundle: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    assert Classifier.load(colours_bundle).setup_source == "rule"
    result = assay("bench", colours_bundle, "--seconds", "0.4", "--json")
    found = json.loads(result.out)["workloads"]
    assert list(found) == list(WORKLOADS)
    for workload in WORKLOADS:
        loaded = Classifier.load(colours_bundle, workload=workload)
        assert (asdict(loaded.setup), loaded.setup_source) == (found[workload]["setup"], "measured")
        assert {"openvino", "onnxruntime"} == {name.partition(",")[0] for name in found[workload]["rates"]}


def test_wrong_usage(assay, colours_bundle: Path):
    result = assay("bench", colours_bundle, "--seconds", "-1")
    assert (result.code, "--seconds is -1: give more than 0" in result.err) == (2, True)
