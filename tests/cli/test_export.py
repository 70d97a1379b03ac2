"""The command `assay export`."""

import json
from pathlib import Path


def test_written_files_are_printed(assay, colours_bundle: Path, colours: Path, tmp_path: Path):
    result = assay("export", colours_bundle, "--to", tmp_path, "--check", colours / "red", "--format", "onnx")
    assert result.code == 0, result.err
    assert "32 photos: logits within" in result.out
    assert "compared on 32 of 41 photos: at most 32, without those that cannot be read" in result.out
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.json", "example_onnx.py"}


def test_json_output(assay, colours_bundle: Path, colours: Path, tmp_path: Path):
    photo = colours / "red" / "001.png"
    result = assay("export", colours_bundle, "--to", tmp_path, "--check", photo, "--format", "openvino", "--json")
    (values,) = json.loads(result.out)["exported"]
    assert (values["format"], values["photos"], values["labels_differ"]) == ("openvino", 1, 0)
    assert all(Path(path).is_file() for path in values["files"])


def test_export_is_verified_unless_disabled(assay, colours_bundle: Path, colours: Path, tmp_path: Path):
    result = assay("export", colours_bundle, "--to", tmp_path / "to")
    assert (result.code, "give --check PHOTOS, or --no-check" in result.err) == (2, True)
    both = assay("export", colours_bundle, "--to", tmp_path / "to", "--check", colours, "--no-check")
    assert (both.code, "cannot be combined" in both.err) == (2, True)
    assert not (tmp_path / "to").exists()
    result = assay("export", colours_bundle, "--to", tmp_path / "to", "--no-check", "--format", "onnx")
    assert (result.code, "not checked" in result.out) == (0, True)
    values = json.loads((tmp_path / "to" / "model.onnx.json").read_text(encoding="utf-8"))
    assert values["check"] is None
