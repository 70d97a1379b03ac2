"""`--int8` makes an int8 model for the export alone; one that is not worth it is left out with a reason."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.bundle import Bundle
from assay.core.errors import AssayError
from assay.export import export_model
from assay.pipeline import quantize
from assay.pipeline.quantize import QuantizationResult


def test_an_int8_model_is_made_and_the_bundle_stays(
    make_bundle: Callable[..., Path], colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bundle = make_bundle(int8=False, classes=("blue", "red"))
    before = bundle.read_bytes()
    # So small a network is not always faster with 8 bits, and its classes were never learnt.
    monkeypatch.setattr(quantize, "MAX_ACCURACY_DROP", 1.0)
    monkeypatch.setattr(QuantizationResult, "speedup", 2.0)
    result = export_model(bundle, tmp_path, ["onnx-int8"], photos=[colours / "red" / "001.png"], int8=colours)
    assert [one.format for one in result.exported] == ["onnx-int8"]
    told = json.loads((tmp_path / "model.int8.onnx.json").read_text(encoding="utf-8"))
    assert told["classes"] == ["blue", "red"]
    assert bundle.read_bytes() == before
    assert Bundle.open(bundle).precisions == ("fp32",)


def test_an_int8_model_that_is_not_worth_it_is_left_out(
    make_bundle: Callable[..., Path], colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bundle = make_bundle(int8=False, classes=("blue", "red"))
    monkeypatch.setattr(QuantizationResult, "speedup", 0.5)
    result = export_model(bundle, tmp_path / "to", ["all"], photos=None, int8=colours)
    assert [one.format for one in result.exported] == ["onnx", "openvino", "torchscript"]
    assert result.skipped["openvino-int8"].startswith("int8 is not used: ")
    with pytest.raises(AssayError, match="cannot become onnx-int8: int8 is not used"):
        export_model(bundle, tmp_path / "more", ["onnx-int8"], photos=None, int8=colours)
