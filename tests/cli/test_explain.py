"""The command `assay explain`: overlays and contact sheet."""

import json
from pathlib import Path

from PIL import Image


def test_overlays_and_a_contact_sheet_are_written(assay, colours_bundle: Path, colours: Path, tmp_path: Path):
    result = assay(
        "explain", colours_bundle, colours / "red" / "001.png", colours / "blue" / "001.png", "--out", tmp_path
    )
    assert result.code == 0
    assert "2 photos explained" in result.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["001-2-heat.png", "001-heat.png", "sheet.png"]
    with Image.open(tmp_path / "001-heat.png") as picture:
        assert picture.size == (32, 32)


def test_class_option_and_json_output(assay, colours_bundle: Path, colours: Path, tmp_path: Path):
    photo = colours / "red" / "001.png"
    result = assay("explain", colours_bundle, photo, "--out", tmp_path, "--class", "blue", "--json")
    values = json.loads(result.out)
    assert (values["source"], values["explained"], values["method"]) == (str(photo), "blue", "cam")
    assert Path(values["file"]).is_file()
    assert values["size"] == [32, 32]


def test_unreadable_photo_is_listed(assay, colours_bundle: Path, colours: Path, tmp_path: Path):
    result = assay(
        "explain", colours_bundle, colours / "red" / "broken.png", colours / "red" / "001.png", "--out", tmp_path
    )
    assert result.code == 1
    assert "1 photo explained" in result.out
    assert "broken.png cannot be read" in result.err


def test_unknown_class_is_wrong_usage(assay, colours_bundle: Path, colours: Path, tmp_path: Path):
    result = assay("explain", colours_bundle, colours / "red" / "001.png", "--out", tmp_path, "--class", "green")
    assert result.code == 2
    assert "there is no class 'green': choose one of blue, red" in result.err


def test_output_folder_with_the_photos_is_rejected(assay, colours_bundle: Path, colours: Path):
    result = assay("explain", colours_bundle, colours / "red" / "001.png", "--out", colours / "red")
    assert result.code == 2
    assert "choose another --out" in result.err
