"""Exported files agree with their bundle; if one disagrees, nothing is written."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from assay.bundle import Bundle, BundleError, amend_bundle, pack_bundle
from assay.core.cpu import int8_instructions
from assay.core.errors import AssayError, UsageError
from assay.export import FORMATS, ExportResult, export_model
from assay.export.exporter import MAX_LOGIT_DIFFERENCE
from assay.export.torchscript import rebuild_network
from assay.inference import Classifier

Example = Callable[[Path, Path], str]
# Without dot product instructions, sums of int8 products saturate at 16 bits, in each runtime in other places.
INT8_DIFFERENCE = MAX_LOGIT_DIFFERENCE["int8"] if int8_instructions() == frozenset() else 0.2


@pytest.fixture
def run_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Example:
    """Run an example in this process, which is quicker, and return what it printed."""

    def run(example: Path, photo: Path) -> str:
        monkeypatch.setattr(sys, "argv", [example.name, str(photo)])
        runpy.run_path(str(example), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def exported(int8_bundle: Path, photo_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    return export_model(int8_bundle, tmp_path_factory.mktemp("exported"), photos=photo_files)


def test_every_format_is_written_and_agrees(exported: ExportResult, photo_files: list[Path]):
    assert [item.format for item in exported.exported] == list(FORMATS)
    assert exported.skipped == {}
    for item in exported.exported:
        assert item.agreement is not None
        assert item.agreement.photos == len(photo_files)
        assert item.agreement.difference <= (INT8_DIFFERENCE if "int8" in item.format else 1e-4)
        assert all(path.is_file() for path in item.files)
    assert {path.name for item in exported.exported for path in item.files} == {
        path.name for path in exported.folder.iterdir()
    }


@pytest.mark.parametrize("name", FORMATS)
def test_example_code_gives_the_predictions_of_assay(
    name: str, exported: ExportResult, int8_bundle: Path, photo_files: list[Path]
):
    item = FORMATS[name]
    expected = Classifier.load(int8_bundle, precision=item.precision).predict(photo_files[0])
    ended = subprocess.run(
        [sys.executable, str(exported.folder / item.example), str(photo_files[0])],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={"PYTHONUTF8": "1", "PATH": ""},
    )
    assert ended.returncode == 0, ended.stderr
    label, confidence = ended.stdout.split("  ")[0].rsplit(" ", 1)
    assert label == expected.label
    assert float(confidence) == pytest.approx(expected.confidence, abs=0.02)
    assert ("unknown: low confidence" in ended.stdout) == (expected.reason == "low_confidence")


@pytest.mark.parametrize("mode", ["stretch", "crop", "letterbox"])
def test_example_code_preprocesses_like_the_bundle(
    mode: str, make_bundle: Callable[..., Path], photo_files: list[Path], tmp_path: Path, run_example: Example
):
    bundle = make_bundle(int8=False, resize_mode=mode, roi=(0.3, 0.05, 1.0, 0.8), fill=(250, 20, 20))
    export_model(bundle, tmp_path, ["onnx"], photos=None)
    answers = Classifier.load(bundle).predict(photo_files)
    # A test of which every photo got the same answer would see nothing.
    assert np.ptp([item.probabilities["right"] for item in answers]) > 0.2
    for shot, expected in zip(photo_files, answers, strict=True):
        label, confidence = run_example(tmp_path / "example_onnx.py", shot).split("  ")[0].rsplit(" ", 1)
        assert label == expected.label, shot
        assert float(confidence) == pytest.approx(expected.confidence, abs=0.02), shot


def test_description_file_is_complete(exported: ExportResult, int8_bundle: Path):
    result = json.loads((exported.folder / "model.onnx.json").read_text(encoding="utf-8"))
    assert result["classes"] == ["left ü", "right"]
    assert result["temperature"] == 0.8
    assert result["thresholds"] == {"confidence": 0.7}
    assert result["input"]["shape"] == ["N", 32, 32, 3]
    assert result["version"] == Bundle.open(int8_bundle).info.version
    # The model normalises: whoever read a mean here would do it twice.
    assert set(result["preprocess"]) == {"roi", "center_crop", "resize_mode", "size", "fill", "value_range"}
    assert result["check"]["max_logit_difference"] < 1e-4


def test_disagreeing_file_prevents_the_export(int8_bundle: Path, photo_files: list[Path], tmp_path: Path):
    opened = Bundle.open(int8_bundle)
    weights = opened.weights()
    weights["head.fc.bias"] = weights["head.fc.bias"] + np.float32(0.01)
    # Arithmetic makes scalars of arrays without axes.
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    crossed = tmp_path / "crossed.assay"
    pack_bundle(crossed, opened.info, {"model.onnx": opened.model(), "weights.safetensors": save(arrays)})
    with pytest.raises(
        AssayError, match=r"nothing was written: torchscript differs from .* by 0.01 in a logit on 6 photos"
    ):
        export_model(crossed, tmp_path / "to", ["onnx", "torchscript"], photos=photo_files)
    assert not (tmp_path / "to").exists()


def test_format_all_skips_unavailable_formats(
    make_bundle: Callable[..., Path], photo_files: list[Path], tmp_path: Path
):
    bundle = make_bundle(int8=False)
    result = export_model(bundle, tmp_path / "to", photos=photo_files[:1])
    assert set(result.skipped) == {"onnx-int8", "openvino-int8"}
    with pytest.raises(AssayError, match="cannot become onnx-int8: it holds no int8 model"):
        export_model(bundle, tmp_path / "more", ["onnx", "onnx-int8"], photos=None)
    assert not (tmp_path / "more").exists()


def test_unknown_format_raises(int8_bundle: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="no format is called 'coreml': choose all, onnx"):
        export_model(int8_bundle, tmp_path, ["coreml"], photos=None)


def test_unreadable_photos_raise(int8_bundle: Path, tmp_path: Path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(AssayError, match=r"broken.jpg cannot be read: .*: give --check photos"):
        export_model(int8_bundle, tmp_path / "to", photos=[broken])


def test_folder_that_cannot_be_created_raises(int8_bundle: Path, tmp_path: Path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(AssayError, match="file cannot be written to"):
        export_model(int8_bundle, tmp_path / "file", ["onnx"], photos=None)


def test_bundle_that_contradicts_its_recipe_raises(int8_bundle: Path, tmp_path: Path):
    opened = Bundle.open(int8_bundle)
    recipe = json.loads(json.dumps(opened.info.provenance.recipe))
    recipe["net"]["resnet"]["widths"] = [16]
    path = tmp_path / "other.assay"
    amend_bundle(opened, {"provenance": {"recipe": recipe}}, path=path)
    with pytest.raises(BundleError, match=r"the weights in .* do not match the network of its recipe"):
        rebuild_network(Bundle.open(path))
    amend_bundle(opened, {"provenance": {"recipe": {"net": 3}}}, path=path)
    with pytest.raises(BundleError, match=r"the recipe in .* cannot be read"):
        rebuild_network(Bundle.open(path))
