"""Comparison of engine settings: candidates, rounds, and what is chosen."""

from collections.abc import Callable
from pathlib import Path

import pytest

from assay.bundle import BundleError
from assay.inference import Classifier, ModelLoader
from assay.inference.workload import EngineSetup
from assay.inference.workload_measurement import (
    TRIALS,
    WorkloadBenchmark,
    candidate_setups,
    fastest_setup,
)

RULE, OTHER, THIRD = (EngineSetup(name, 2, 2, 4) for name in ("openvino", "onnxruntime", "third"))


def test_first_candidate_is_the_rule() -> None:
    assert candidate_setups("latency", ("openvino", "onnxruntime"), 2) == [
        EngineSetup("openvino", 2, 1, 1),
        EngineSetup("onnxruntime", 2, 1, 1),
    ]
    streams = [(item.engine, item.streams) for item in candidate_setups("server", ("openvino", "onnxruntime"), 2)]
    assert streams == [("openvino", 2), ("openvino", 1), ("onnxruntime", 2), ("onnxruntime", 1)]


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 6, 7, 16, 64])
def test_candidates_differ_and_have_threads_for_every_stream(threads: int) -> None:
    for workload in ("latency", "server", "throughput"):
        setups = candidate_setups(workload, ("openvino",), threads)  # type: ignore[arg-type]
        assert len(set(setups)) == len(setups)
        assert all(1 <= item.streams <= item.threads <= threads for item in setups)


def test_clearly_faster_settings_are_chosen() -> None:
    assert fastest_setup({RULE: [10, 11, 12], OTHER: [13, 13, 13], THIRD: [13, 14, 15]}) == THIRD


def test_small_difference_does_not_change_the_settings() -> None:
    assert fastest_setup({RULE: [100, 100, 100], OTHER: [104, 104, 104]}) == RULE


@pytest.mark.parametrize(("usual", "other"), [([10, 10, 10], [20, 20, 9]), ([10, 13, 10], [12, 12, 12])])
def test_settings_whose_rates_overlap_with_the_rule_are_not_chosen(usual: list[float], other: list[float]) -> None:
    assert fastest_setup({RULE: usual, OTHER: other}) == RULE


@pytest.fixture
def load(bundle_path: Path) -> Callable[[EngineSetup], Classifier]:
    loader = ModelLoader(bundle_path)
    return lambda setup: Classifier.from_setup(loader, setup)


@pytest.mark.parametrize("workload", list(TRIALS))
def test_every_engine_is_measured(workload: str, load: Callable[[EngineSetup], Classifier]) -> None:
    setups = candidate_setups(workload, ("openvino", "onnxruntime"), 2)  # type: ignore[arg-type]
    found = WorkloadBenchmark(load, TRIALS[workload], seconds=0.02).run(setups)  # type: ignore[index]
    assert list(found.rates) == [str(setup) for setup in setups]
    assert all(rate > 0 for rate in found.rates.values())
    assert found.setup in setups


def test_disturbed_trials_are_repeated(load: Callable[[EngineSetup], Classifier]) -> None:
    rates = iter([1.0, *[100.0] * 5])
    checks = iter([True, False, *[True] * 10])
    benchmark = WorkloadBenchmark(load, lambda _, __: next(rates), is_valid=lambda: next(checks))
    rule = EngineSetup("openvino", 1, 1, 1)
    assert benchmark.run([rule]).rates == {str(rule): 100.0}


def test_engines_that_cannot_run_the_model_are_left_out(load: Callable[[EngineSetup], Classifier]) -> None:
    broken, working = EngineSetup("cuda", 1, 1, 1), EngineSetup("openvino", 1, 1, 1)
    assert WorkloadBenchmark(load, lambda _, __: 1.0).run([broken, working]).setup == working
    with pytest.raises(BundleError, match="cannot be run"):
        WorkloadBenchmark(load, lambda _, __: 1.0).run([broken])


def _measured_batch(load: Callable[[EngineSetup], Classifier], rates: dict[int, float]) -> EngineSetup:
    """Measure with these rates by batch size; ONNX Runtime is twice as fast as OpenVINO."""

    def trial(classifier: Classifier, _: float) -> float:
        setup = classifier.setup
        return rates[setup.batch] * (2.0 if setup.engine == "onnxruntime" else 1.0)

    setups = [EngineSetup("openvino", 1, 1, 4), EngineSetup("onnxruntime", 1, 1, 4)]
    return WorkloadBenchmark(load, trial).run(setups, batches=True).setup


def test_batches_grow_or_shrink_only_if_that_raises_the_throughput(load: Callable[[EngineSetup], Classifier]) -> None:
    assert _measured_batch(load, {1: 5, 2: 7, 4: 10, 8: 14, 16: 13}) == EngineSetup("onnxruntime", 1, 1, 8)
    assert _measured_batch(load, {1: 13, 2: 12, 4: 10, 8: 10, 16: 9}) == EngineSetup("onnxruntime", 1, 1, 1)
    assert _measured_batch(load, {1: 10, 2: 10, 4: 10, 8: 10.3, 16: 10.4}) == EngineSetup("onnxruntime", 1, 1, 4)
