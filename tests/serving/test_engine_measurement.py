"""Measuring engine settings as a server runs a model."""

import json
import subprocess
from pathlib import Path

import pytest
from colour_model import colour_model

from assay.bundle import BundleInfo, pack_bundle
from assay.inference import ModelLoader
from assay.recipe import PreprocessSpec
from assay.serving.engine_measurement import EngineMeasurementJob, measure


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    spec = PreprocessSpec(size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    path = tmp_path / "colours.assay"
    info = BundleInfo(name="colours", classes=("red", "green", "blue"), preprocess=spec)
    pack_bundle(path, info, {"model.onnx": colour_model().SerializeToString(), "weights.safetensors": b""})
    return path


@pytest.fixture
def one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.inference.workload_measurement._ROUNDS", 1)


@pytest.mark.usefixtures("one_round")
def test_result_is_saved_for_this_workload_only(bundle: Path) -> None:
    found = measure(EngineMeasurementJob(str(bundle), "server", "auto", "auto", 2))
    loader = ModelLoader(bundle, threads=2)
    assert loader.measurement("server") == found
    assert loader.measurement("latency") is None
    measured = {name.rpartition(",")[0] for name in found.rates}
    assert measured == {
        f"{engine}, {streams}"
        for engine in ("openvino", "onnxruntime")
        for streams in ("2 × 1 threads", "1 × 2 threads")
    }
    assert {name.rpartition(" ")[2] for name in found.rates} == {"1", "2", "4", "8", "16"}
    assert all(rate > 0 for rate in found.rates.values())


def test_process_prints_an_error(tmp_path: Path) -> None:
    job = EngineMeasurementJob(str(tmp_path / "missing.assay"), "server", "auto", "auto", 1, background=True)
    with subprocess.Popen(job.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert "missing.assay does not exist" in json.loads(process.stdout.readline())["error"]


def test_process_ends_with_its_parent(bundle: Path) -> None:
    job = EngineMeasurementJob(str(bundle), "server", "auto", "auto", 1)
    done = subprocess.run(
        job.command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
