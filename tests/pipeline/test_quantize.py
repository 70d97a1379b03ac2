"""An int8 model is kept if it is as accurate and faster, with its own temperature and limits."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest

from assay.bundle import Bundle, PrecisionSettings, amend_bundle
from assay.bundle.quantization import Quantizer
from assay.core.cpu import bf16_instructions, int8_instructions
from assay.core.errors import AssayError, UsageError
from assay.data import write_manifest
from assay.export import export_model
from assay.inference import Classifier
from assay.pipeline import TrainResult, quantize, train_classifier
from assay.pipeline.dataset_evaluation import predict_dataset, reselect_threshold
from assay.pipeline.held_out_predictions import HeldOutSplit
from assay.pipeline.quantize import QuantizationResult, describe_int8, quantize_bundle, store_int8_model
from assay.recipe import AbstainSpec, Recipe


@pytest.fixture(scope="module")
def trained(colours: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    recipe = tiny.model_copy(update={"serve": tiny.serve.model_copy(update={"int8": True})})
    return train_classifier(colours, recipe, tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture
def path(trained: TrainResult, tmp_path: Path) -> Path:
    return Path(copyfile(trained.run.bundle, tmp_path / "copy.assay"))


def test_run_records_the_result_of_quantization(trained: TrainResult) -> None:
    info = Bundle.open(trained.run.bundle).info
    result = info.metrics["int8"]
    assert isinstance(result, dict)
    if int8_instructions() != frozenset():
        assert result["photos"] == len(trained.dataset.part("val"))
    assert (info.precision == "int8") == result["kept"]
    assert describe_int8(result).startswith("int8 model enabled: " if result["kept"] else "int8 model not used: ")


def test_no_int8_model_is_made_on_a_processor_that_cannot_measure_it(
    colours: Path, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    recipe = tiny.model_copy(update={"serve": tiny.serve.model_copy(update={"int8": True})})
    bundle = Bundle.open(train_classifier(colours, recipe, tmp_path / "run").run.bundle)
    assert bundle.precisions == ("fp32",)
    assert "no int8 dot products" in describe_int8(bundle.info.metrics["int8"])
    assert "no int8 dot products" not in bundle.card


def test_decision_follows_the_measurements(trained: TrainResult, path: Path) -> None:
    outcome = quantize_bundle(path, trained.dataset)
    assert outcome.kept == (outcome.drop <= 0.005 and outcome.speedup > 1)
    assert ("int8" in Bundle.open(path).precisions) == (
        outcome.kept or "int8" in Bundle.open(trained.run.bundle).precisions
    )


def test_int8_model_may_have_the_limits_of_fp32(
    colours: Path, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train_classifier(colours, tiny, tmp_path / "run")
    path, before = trained.run.bundle, Bundle.open(trained.run.bundle).info
    monkeypatch.setattr(quantize, "_accurate_enough", lambda _: True)
    monkeypatch.setattr(quantize, "_time_engines", lambda *_: {"fp32": 2.0, "int8": 1.0})
    amend_bundle(Bundle.open(path), {"metrics": {**before.metrics, "confidence": {"cross_validated": True}}})
    outcome = quantize_bundle(path, trained.dataset)
    assert outcome.kept
    assert outcome.confidence is None
    after = Bundle.open(path).info
    assert after.precision == "int8"
    assert (after.temperature, after.thresholds) == (before.temperature, before.thresholds)


@pytest.mark.skipif(int8_instructions() == frozenset(), reason="int8 models are not made without dot products")
def test_a_classifier_trained_on_its_validation_photos_is_measured_on_test_photos(
    trained: TrainResult, path: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(path)
    amend_bundle(bundle, {"metrics": {**bundle.info.metrics, "confidence": {"cross_validated": True}}})
    assert quantize_bundle(path, trained.dataset).photos == len(trained.dataset.part("test"))
    known = tmp_path / "known.csv"
    write_manifest(
        trained.dataset.with_samples(item for item in trained.dataset.samples if item.split != "test"), known
    )
    found, reason = quantize.quantized_copy(Bundle.open(path), known, tmp_path)
    assert found.path == path
    assert "has no test photos" in str(reason)


def test_int8_model_has_its_own_limits(trained: TrainResult, path: Path) -> None:
    bundle = Bundle.open(path)
    images = np.stack([Classifier.load(path).preprocess.read(item.read()) for item in trained.dataset.samples])
    model = Quantizer.observe(bundle.model("fp32"), [images], threads=1).model()
    before = Classifier.load(path, precision="fp32")
    found = predict_dataset(Classifier(bundle.info.model_copy(update={"temperature": 1.0}), before.engine),
                  trained.dataset, trained.dataset.part("val"))  # fmt: skip
    held_out = HeldOutSplit(trained.dataset, seed=0)
    confidence = store_int8_model(bundle, model, found, AbstainSpec(target_precision=0.8), held_out)
    after = Bundle.open(path)
    assert after.info.precision == "int8"
    assert after.info.version != bundle.info.version
    assert after.info.thresholds == confidence.thresholds
    exact, small = Classifier.load(path, precision="fp32"), Classifier.load(path, precision="int8")
    assert (exact.precision, small.precision) == ("fp32", "int8")
    assert exact.info.temperature == before.info.temperature
    assert exact.info.thresholds == before.info.thresholds
    assert exact.abstention is not None
    assert before.abstention is not None
    if before.abstention.novelty is not None and exact.abstention.novelty is not None:
        assert exact.abstention.novelty.limit == before.abstention.novelty.limit
    assert small.info.thresholds == confidence.thresholds
    answers = [item.predict(trained.dataset.samples[0].path) for item in (exact, small)]
    assert answers[0].label == answers[1].label
    assert small.explain(trained.dataset.samples[0].path).heat.shape
    with pytest.raises(UsageError, match="for int8 only"):
        reselect_threshold(exact, 0.9)


@pytest.mark.skipif(not bf16_instructions(), reason="the processor has no instructions for bfloat16")
def test_bfloat16_uses_the_limits_of_fp32(int8_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.assay"
    own = {"precision": "int8", "temperature": 3.0, "thresholds": {"confidence": 0.9}}
    exact = PrecisionSettings(temperature=0.5, thresholds={"confidence": 0.3})
    amend_bundle(Bundle.open(int8_bundle), {**own, "others": {"fp32": exact}}, path=path)
    for precision, temperature, confidence in (("int8", 3.0, 0.9), ("fp32", 0.5, 0.3), ("bf16", 0.5, 0.3)):
        classifier = Classifier.load(path, precision=precision)
        assert classifier.precision == precision
        assert classifier.info.temperature == temperature
        assert classifier.abstention is not None
        assert classifier.abstention.confidence == confidence


GOOD = QuantizationResult(
    kept=True,
    photos=200,
    accuracy={"fp32": 0.9, "int8": 0.895},
    milliseconds={"fp32": 9.0, "int8": 3.0},
    engine="x",
)


def test_description_names_the_failed_condition() -> None:
    assert GOOD.sentence == (
        "int8 model enabled: accuracy -0.5 points on 200 held-out photos, 3.0 ms per photo instead of 9.0 ms with x"
    )
    worse = replace(GOOD, kept=False, accuracy={"fp32": 0.9, "int8": 0.89}, layers=("a", "b"))
    assert worse.sentence == (
        "int8 model not used: accuracy -1.0 points on 200 held-out photos, more than the allowed loss of 0.5, "
        "2 layers kept at fp32"
    )
    slower = replace(GOOD, kept=False, milliseconds={"fp32": 2.0, "int8": 3.0})
    assert (
        slower.sentence == "int8 model not used: not faster on this machine (3.0 ms per photo instead of 2.0 ms with x)"
    )
    both = replace(slower, accuracy={"fp32": 0.9, "int8": 0.89})
    assert " and not faster on this machine" in both.sentence


def test_other_amendments_keep_the_int8_model(path: Path) -> None:
    bundle = Bundle.open(path)
    amend_bundle(bundle, {}, int8=bundle.model("fp32"))
    amend_bundle(Bundle.open(path), {"precision": "int8"})
    amend_bundle(Bundle.open(path), {"description": "new"})
    assert Bundle.open(path).info.precision == "int8"
    assert Bundle.open(path).info.metrics == bundle.info.metrics


def test_exported_int8_model_does_not_change_the_bundle(
    make_bundle: Callable[..., Path], colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bundle = make_bundle(int8=False, classes=("blue", "red"))
    before = bundle.read_bytes()
    # So small a network is not always faster with 8 bits, and its classes were never learnt.
    monkeypatch.setattr(quantize, "MAX_ACCURACY_DROP", 1.0)
    monkeypatch.setattr(QuantizationResult, "speedup", 2.0)
    result = export_model(bundle, tmp_path, ["onnx-int8"], photos=[colours / "red" / "001.png"], int8=colours)
    assert [item.format for item in result.exported] == ["onnx-int8"]
    values = json.loads((tmp_path / "model.int8.onnx.json").read_text(encoding="utf-8"))
    assert values["classes"] == ["blue", "red"]
    assert bundle.read_bytes() == before
    assert Bundle.open(bundle).precisions == ("fp32",)


def test_int8_model_without_benefit_is_not_exported(
    make_bundle: Callable[..., Path], colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bundle = make_bundle(int8=False, classes=("blue", "red"))
    monkeypatch.setattr(QuantizationResult, "speedup", 0.5)
    result = export_model(bundle, tmp_path / "to", ["all"], photos=None, int8=colours)
    assert [item.format for item in result.exported] == ["onnx", "openvino", "torchscript"]
    assert result.skipped["openvino-int8"].startswith("int8 model not used: ")
    with pytest.raises(AssayError, match="cannot become onnx-int8: int8 model not used"):
        export_model(bundle, tmp_path / "more", ["onnx-int8"], photos=None, int8=colours)
