"""Engine settings by workload: the rule, and the saved measurements."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.inference import WORKLOADS, Classifier, ModelLoader
from assay.inference.workload import (
    EngineMeasurement,
    EngineSetup,
    MeasurementKey,
    default_setup,
    read_measurement,
    save_measurement,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    return tmp_path


def test_one_photo_gets_all_threads_and_many_photos_a_stream_per_thread() -> None:
    assert default_setup("latency", "auto", 8) == EngineSetup("auto", 8, streams=1, batch=1)
    assert default_setup("server", "auto", 8) == EngineSetup("auto", 8, streams=8, batch=4)
    assert default_setup("throughput", "auto", 8) == EngineSetup("auto", 8, streams=8, batch=16)


def test_gpu_runs_one_call_at_a_time() -> None:
    assert default_setup("server", "cuda", 8, gpu=True) == EngineSetup("cuda", 8, streams=1, batch=16)


def test_measurement_belongs_to_model_precision_workload_engine_threads_and_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = MeasurementKey("model", "int8", "latency", "auto", 2)
    others = [
        replace(key, model="other"),
        replace(key, precision="fp32"),
        replace(key, workload="server"),
        replace(key, engine="openvino"),
        replace(key, threads=1),
    ]
    paths = {item.path(tmp_path) for item in [key, *others]}
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    paths.add(key.path(tmp_path))
    monkeypatch.setattr("assay.inference.workload.version", lambda _: "0.1")
    paths.add(key.path(tmp_path))
    monkeypatch.setattr("assay.inference.workload.cpu_count", lambda: 99)
    paths.add(key.path(tmp_path))
    assert len(paths) == 1 + len(others) + 3


def test_measurement_survives_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "below" / "a.json"
    assert read_measurement(path) is None
    measurement = EngineMeasurement(EngineSetup("onnxruntime", 2, 2, 8), {"a": 1.5})
    save_measurement(path, measurement)
    assert read_measurement(path) == measurement


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"setup": {"engine": "openvino"}, "rates": {}}',
        '{"setup": {"engine": 3, "threads": 1, "streams": 1, "batch": 1}, "rates": {}}',
        '{"setup": {"engine": "openvino", "threads": 1, "streams": 0, "batch": 1}, "rates": {}}',
        '{"setup": {"engine": "openvino", "threads": 1, "streams": "2", "batch": 1}, "rates": {}}',
        '{"setup": {"engine": "openvino", "threads": 1, "streams": 1, "batch": 1}, "rates": []}',
    ],
)
def test_damaged_file_is_ignored(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    assert read_measurement(path) is None


def test_unwritable_folder_is_tolerated(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    save_measurement(tmp_path / "file" / "a.json", EngineMeasurement(EngineSetup("openvino", 1, 1, 1), {}))


def test_measurement_of_one_workload_does_not_change_another(bundle_path: Path) -> None:
    loader = ModelLoader(bundle_path)
    other = EngineMeasurement(EngineSetup("onnxruntime", 1, 1, 1), {})
    loader.save("latency", other)
    loaded = {workload: Classifier.load(bundle_path, workload=workload) for workload in WORKLOADS}
    assert {workload: item.engine.name for workload, item in loaded.items()} == {
        "latency": "onnxruntime",
        "server": "openvino",
        "throughput": "openvino",
    }
    assert loaded["latency"].setup == other.setup
    assert [loaded[workload].setup_source for workload in WORKLOADS] == ["measured", "rule", "rule"]


@pytest.mark.parametrize("workload", ["latency", "throughput"])
def test_load_measures_once_for_its_workload(bundle_path: Path, workload: str, cache: Path) -> None:
    measured = Classifier.load(bundle_path, workload=workload, measure=True)  # type: ignore[arg-type]
    (file,) = (cache / "engines").iterdir()
    assert file.name.startswith(workload)
    assert measured.setup_source == "measured"
    before = file.stat().st_mtime_ns
    again = Classifier.load(bundle_path, workload=workload, measure=True)  # type: ignore[arg-type]
    assert file.stat().st_mtime_ns == before
    assert again.setup == measured.setup


def test_settings_that_no_longer_work_are_replaced_by_the_rule(make_bundle: Callable[..., Path]) -> None:
    path = make_bundle()
    ModelLoader(path).save("latency", EngineMeasurement(EngineSetup("cuda", 1, 1, 1), {}))
    classifier = Classifier.load(path)
    assert (classifier.engine.name, classifier.setup_source) == ("openvino", "rule")


def test_unknown_workload_is_refused(bundle_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown workload 'haste': choose latency, server, throughput"):
        Classifier.load(bundle_path, workload="haste")  # type: ignore[arg-type]
