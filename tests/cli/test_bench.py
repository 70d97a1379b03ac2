"""The command `assay bench`: table, JSON and figure."""

import json
from pathlib import Path


def test_prints_a_table_and_writes_files(assay, colours_bundle: Path, colours: Path, tmp_path: Path):
    result = assay("bench", colours_bundle, colours, "--seconds", "0.4", "--to", tmp_path)
    assert result.code == 0, result.err
    for word in ("openvino fp32", "onnxruntime fp32", "p99 ms", "images/s", "accuracy", "load"):
        assert word in result.out
    assert "80 photos" in result.out
    assert max(len(line) for line in result.out.split("latency, throughput")[0].splitlines()) <= 80
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "bench.png"}
    # The photos that the bundle was made from.
    assert "warning" in result.out


def test_json_output(assay, colours_bundle: Path):
    result = assay("bench", colours_bundle, "--seconds", "0.4", "--json")
    values = json.loads(result.out)
    assert {"openvino", "onnxruntime"} <= {item["engine"] for item in values["combinations"]}
    assert values["combinations"][0]["latency_ms"]["p50"]["median"] > 0
    assert values["machine"]["processors"]["usable"] >= 1


def test_wrong_usage(assay, colours_bundle: Path):
    result = assay("bench", colours_bundle, "--seconds", "-1")
    assert (result.code, "--seconds is -1: give more than 0" in result.err) == (2, True)
