"""Benchmarks: rounds, accuracy, and combinations that fail."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from assay.benchmark.figures import write_benchmark
from assay.benchmark.results import Measurement
from assay.benchmark.runner import SYNTHETIC_PHOTO, benchmark_model, load_average, machine_info, synthetic_photo
from assay.benchmark.worker import MeasurementJob, StageTimes, ThroughputSetting
from assay.benchmark.worker_process import MeasurementError
from assay.bundle import BundleError
from assay.core.errors import AssayError, UsageError
from assay.inference import Classifier

MIB = 1 << 20


class FakeTrials:
    """Trials that take no time; every one is a millisecond slower than the one before."""

    def __init__(self, broken: str = "") -> None:
        self.jobs: list[MeasurementJob] = []
        self._broken = broken

    def __call__(self, job: MeasurementJob) -> Measurement:
        self.jobs.append(job)
        assert all(Path(photo).is_file() for photo in job.photos)
        if job.engine == self._broken:
            raise MeasurementError("it is broken")
        slow = 1e-3 * len(self.jobs)
        return Measurement(
            startup=0.5,
            p50=slow,
            p95=2 * slow,
            p99=3 * slow,
            runs=10,
            throughput=1 / slow,
            setting=ThroughputSetting(4, 2),
            memory=100 * MIB,
            peak=200 * MIB,
            stages=StageTimes(3 * slow, slow, 4 * slow),
        )


@pytest.fixture(autouse=True)
def plain_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured depends on the processor: here on one without bfloat16."""
    monkeypatch.setattr("assay.benchmark.runner.bf16_instructions", frozenset)


@pytest.fixture
def labelled(photo_files: list[Path], tmp_path: Path) -> Path:
    """Two class folders of three photos each."""
    for place, shot in enumerate(photo_files):
        folder = tmp_path / "photos" / ("left ü", "right")[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / shot.name).write_bytes(shot.read_bytes())
    return tmp_path / "photos"


def test_combinations_alternate_and_results_are_medians(int8_bundle: Path):
    trial = FakeTrials()
    result = benchmark_model(int8_bundle, seconds=24, trial=trial)
    order = [(job.engine, job.precision) for job in trial.jobs]
    assert len(set(order[:4])) == 4
    assert order[4:8] == order[:4][::-1]
    assert order[8:] == order[:4]
    assert all(job.seconds == 2 for job in trial.jobs)
    assert (result.rounds, result.photos, result.judged) == (3, SYNTHETIC_PHOTO, 0)
    first = result.rows[0]
    # The first one was measured 1st, 8th and 9th.
    assert first.of(lambda item: 1e3 * item.p50) == pytest.approx((8, 1, 9))
    assert first.shares() == pytest.approx({"decode": 3 / 8, "preprocess": 1 / 8, "inference": 4 / 8})
    values = json.loads(json.dumps(result.to_dict()))["combinations"][0]
    assert values["latency_ms"]["p99"] == {"median": 24, "lowest": 3, "highest": 27}
    assert values["throughput_per_s"] | {"batch": 4, "streams": 2} == values["throughput_per_s"]
    assert values["memory_mib"] == {"batch_1": 100, "peak": 200}


def test_little_time_gives_fewer_rounds(int8_bundle: Path):
    trial = FakeTrials()
    assert benchmark_model(int8_bundle, seconds=1, trial=trial).rounds == 1
    assert len(trial.jobs) == 4


def test_bfloat16_is_measured_if_supported(int8_bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.benchmark.runner.bf16_instructions", lambda: frozenset({"amx_bf16"}))
    trial = FakeTrials()
    benchmark_model(int8_bundle, seconds=1, trial=trial)
    assert [job.engine for job in trial.jobs if job.precision == "bf16"] == ["openvino"]
    assert len(trial.jobs) == 5


def test_accuracy_counts_correct_labels(int8_bundle: Path, labelled: Path):
    result = benchmark_model(int8_bundle, labelled, seconds=1, trial=FakeTrials())
    assert result.judged == 6
    assert result.photos == f"6 photos of {labelled}"
    truth = [row.accuracy for row in result.rows if row.combination.precision == "fp32"]
    assert truth[0] is not None
    photos = sorted(labelled.rglob("*.*"))
    answers = Classifier.load(int8_bundle, precision="fp32").predict(photos)
    right = sum(item.label == photo.parent.name for item, photo in zip(answers, photos, strict=True))
    assert truth == [(right, 6)] * len(truth)


def test_failing_combination_does_not_stop_others(int8_bundle: Path, labelled: Path, tmp_path: Path):
    trial = FakeTrials("onnxruntime")
    result = benchmark_model(int8_bundle, labelled, seconds=24, trial=trial)
    failed = [row for row in result.rows if not row.trials]
    assert {(row.combination.engine, row.error, row.accuracy) for row in failed} == {
        ("onnxruntime", "it is broken", None)
    }
    assert len(result.measured) == 2
    # It is not tried again.
    assert sum(job.engine == "onnxruntime" for job in trial.jobs) == 2
    text, picture = write_benchmark(result, tmp_path / "out")
    assert json.loads(text.read_text(encoding="utf-8"))["combinations"][1]["error"] == "it is broken"
    with Image.open(picture) as image:
        assert min(image.size) > 500


def test_no_figure_if_all_fail(make_bundle: Callable[..., Path], tmp_path: Path):
    def fail(job: MeasurementJob) -> Measurement:
        raise MeasurementError(f"{job.engine} is broken")

    result = benchmark_model(make_bundle(int8=False), seconds=1, trial=fail)
    assert result.measured == ()
    assert [path.name for path in write_benchmark(result, tmp_path)] == ["bench.json"]


def test_invalid_input_raises(int8_bundle: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="--seconds is 0: give more than 0"):
        benchmark_model(int8_bundle, seconds=0)
    with pytest.raises(BundleError, match=r"no.assay does not exist"):
        benchmark_model(tmp_path / "no.assay", trial=FakeTrials())
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "cat" / "1.png")
    with pytest.raises(AssayError, match="cat"):
        benchmark_model(int8_bundle, tmp_path, trial=FakeTrials())


def test_synthetic_photo_is_reproducible():
    assert synthetic_photo() == synthetic_photo()


_X86 = """processor : 0
cpu family : 26
model : 2
model name : Fast Chip 9000
flags : fpu avx2 avx512_vnni rdtscp

processor : 1
model name : Other
"""
_ARM = "processor : 0\nFeatures : fp asimddp i8mm\n"


def test_processor_name_and_features(tmp_path: Path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(_X86, encoding="utf-8")
    result = machine_info(tmp_path)
    assert (result["processor"], result["features"]) == ("Fast Chip 9000, family 26 model 2", ["avx2", "avx512_vnni"])
    (tmp_path / "proc" / "cpuinfo").write_text(_ARM, encoding="utf-8")
    assert machine_info(tmp_path)["features"] == ["asimddp", "i8mm"]


def test_missing_cpuinfo_is_tolerated(tmp_path: Path):
    result = machine_info(tmp_path)
    assert result["features"] == []
    assert result["processors"]["usable"] >= 1
    assert result["libraries"]["numpy"]
    json.dumps(result)


def test_load_average_is_a_number_if_available():
    assert load_average() is None or load_average() >= 0
