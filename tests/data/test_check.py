"""The data audit `assay check`."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.core.errors import UsageError
from assay.data.check import check
from assay.data.check_result import CheckReport, FindingKind, Severity, parse_fail_on
from assay.recipe import DataSpec


def _photo(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    small = np.random.default_rng(seed).integers(30, 226, (12, 16, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def _save(image: Image.Image, path: Path, kind: str = "PNG", **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, kind, **options)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of eight sound photos each."""
    root = tmp_path / "data"
    for seed in range(16):
        _save(_photo(seed), root / ("a" if seed < 8 else "b") / f"{seed:02}.png")
    return root


def _check(root: Path, **data: object) -> CheckReport:
    spec = DataSpec.model_validate({"min_images_per_class": 5, **data})
    return check(root, cache=root.parent / "cache", spec=spec)


def _ids(report: CheckReport, kind: FindingKind) -> list[str]:
    finding = report.of(kind)
    return [] if finding is None else [entry.id for group in finding.groups for entry in group.photos]


def test_valid_data_has_no_findings(data: Path) -> None:
    report = _check(data)

    assert report.findings == ()
    assert report.classes == {"a": 8, "b": 8}
    assert report.failures(["note"]) == ()


def test_unreadable_and_truncated_files(data: Path) -> None:
    (data / "a/none.jpg").write_bytes(b"")
    whole = io.BytesIO()
    _photo(50).save(whole, "JPEG")
    (data / "a/half.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (data / "a/notes.txt").write_text("not a photo")
    report = _check(data)

    finding = report.of(FindingKind.unreadable)
    assert finding is not None
    assert finding.severity is Severity.error
    notes = {entry.id: entry.note for group in finding.groups for entry in group.photos}
    assert notes == {"a/none.jpg": "empty file", "a/half.jpg": "damaged: truncated JPEG"}
    assert report.skipped == {"not an image": 1}
    assert report.photos == 16


def test_wrong_file_extensions(data: Path) -> None:
    _save(_photo(60), data / "a/really.jpg", "WEBP")
    _save(_photo(61), data / "a/unknown.data", "PNG")

    assert _ids(_check(data), FindingKind.wrong_extension) == ["a/really.jpg"]


def test_identical_files(data: Path) -> None:
    shutil.copy(data / "a/00.png", data / "a/again.png")
    report = _check(data)

    assert _ids(report, FindingKind.identical) == ["a/00.png", "a/again.png"]
    assert report.of(FindingKind.near_duplicate) is None
    assert report.groups == (frozenset({"a/00.png", "a/again.png"}),)


def test_label_conflicts(data: Path) -> None:
    _save(Image.open(data / "a/03.png").crop((3, 2, 158, 119)), data / "b/new.jpg", "JPEG", quality=80)
    report = _check(data)

    assert _ids(report, FindingKind.label_conflict) == ["a/03.png", "b/new.jpg"]
    assert _ids(report, FindingKind.near_duplicate) == ["a/03.png", "b/new.jpg"]
    assert [finding.kind for finding in report.failures()] == [FindingKind.label_conflict]


def test_a_mapping_settles_conflicts(data: Path) -> None:
    shutil.copy(data / "a/03.png", data / "b/new.png")
    _save(_photo(70), data / "c/1.png")

    report = _check(data, class_mapping={"ab": ("a", "b"), "c": ("c",)})

    assert report.of(FindingKind.label_conflict) is None
    assert report.classes == {"ab": 17, "c": 1}


def test_leaks_between_existing_splits(data: Path) -> None:
    for part in ("train", "test"):
        shutil.copytree(data, data.parent / "parts" / part)
    for path in (data.parent / "parts/test").rglob("*.png"):
        if path.name != "04.png":
            _save(_photo(100 + int(path.stem)), path)
    report = _check(data.parent / "parts")

    assert _ids(report, FindingKind.leak) == ["test/a/04.png", "train/a/04.png"]
    assert report.splits == {"train": 16, "test": 16}


def test_dark_and_blurred_images(data: Path) -> None:
    _save(Image.new("RGB", (160, 120), (250, 250, 250)), data / "a/blank.png")
    _save(Image.eval(_photo(80), lambda value: value // 8), data / "a/dark.png")
    _save(_photo(81, 10, 8).resize((320, 240), Image.Resampling.BICUBIC), data / "a/blurred.png")
    report = _check(data)

    assert _ids(report, FindingKind.blank) == ["a/blank.png"]
    assert _ids(report, FindingKind.dark) == ["a/dark.png"]
    assert "a/blank.png" not in _ids(report, FindingKind.plain)


def test_blurred_images_among_sharp_ones(bottles: Path, tmp_path: Path) -> None:
    sources = sorted(bottles.rglob("*.jpg"))
    for path in sources:
        (tmp_path / "data" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "data" / path.parent.name)
    image = Image.open(sources[0])
    blurred = image.resize((27, 48)).resize(image.size, Image.Resampling.BICUBIC)
    _save(blurred, tmp_path / "data/open/blurred.jpg", "JPEG")

    assert _ids(_check(tmp_path / "data"), FindingKind.blurred) == ["open/blurred.jpg"]


def test_aspect_ratios_modes_and_rotation(data: Path) -> None:
    _save(_photo(90, 800, 100), data / "a/long.png")
    _save(_photo(91, 1600, 1200), data / "a/huge.png")
    _save(_photo(92).convert("CMYK"), data / "a/cmyk.jpg", "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    _save(_photo(93), data / "a/turned.jpg", "JPEG", exif=exif)
    report = _check(data)

    assert _ids(report, FindingKind.extreme_aspect) == ["a/long.png"]
    assert _ids(report, FindingKind.odd_size) == ["a/huge.png"]
    assert "larger ones may show more" in report.of(FindingKind.odd_size).advice
    assert _ids(report, FindingKind.unusual_mode) == ["a/cmyk.jpg"]
    assert _ids(report, FindingKind.rotated) == ["a/turned.jpg"]


def test_small_and_imbalanced_classes(data: Path) -> None:
    _save(_photo(95), data / "rare/1.png")
    for seed in range(200, 210):
        _save(_photo(seed), data / "a" / f"{seed}.png")
    (data / "none").mkdir()
    report = _check(data)

    assert {finding.kind for finding in report.findings} >= {
        FindingKind.small_class,
        FindingKind.imbalance,
        FindingKind.empty_class,
    }
    assert report.classes == {"a": 18, "b": 8, "none": 0, "rare": 1}


def test_second_check_gives_the_same_result(data: Path) -> None:
    shutil.copy(data / "a/00.png", data / "b/again.png")

    assert _check(data).to_dict() == _check(data).to_dict()


def test_json_form(data: Path) -> None:
    shutil.copy(data / "a/00.png", data / "b/again.png")
    report = _check(data).to_dict()

    assert json.loads(json.dumps(report)) == report
    assert report["version"] == 1
    assert str(data) not in json.dumps(report)
    assert report["findings"][0] == {
        "kind": "label_conflict",
        "severity": "error",
        "title": "2 photos in 1 group show one picture under two labels",
        "advice": "Decide for one label and delete the other file; no classifier can learn both.",
        "photos": 2,
        "groups": [
            {
                "note": "",
                "photos": [
                    {"id": "a/00.png", "label": "a", "split": None, "note": ""},
                    {"id": "b/again.png", "label": "b", "split": None, "note": ""},
                ],
            }
        ],
    }


def test_fail_on() -> None:
    assert parse_fail_on(["error"]) == {"error"}
    assert parse_fail_on(["warning", "rotated"]) == {"error", "warning", "rotated"}
    assert parse_fail_on(["never"]) == frozenset()
    with pytest.raises(UsageError, match="eror"):
        parse_fail_on(["eror"])


def test_check_of_the_button_cells(button_cells: Path, tmp_path: Path) -> None:
    report = check(button_cells, cache=tmp_path)

    identical = report.of(FindingKind.identical)
    assert identical is not None
    assert (identical.photos, len(identical.groups)) == (12, 5)
    assert len(_ids(report, FindingKind.wrong_extension)) == 10
    assert report.of(FindingKind.small_class).advice.endswith(
        "assay crossval: a test on so few photos is not reliable."
    )


def test_undecodable_file_names_are_reported(data: Path) -> None:
    (data / "a/00.png").rename(data / "a" / os.fsdecode(b"caf\xe9.png"))
    finding = _check(data).of(FindingKind.unreadable)
    assert finding is not None
    assert finding.advice == "Rename files whose names are not valid Unicode. --write leaves them out."


def test_missing_paths_are_reported(data: Path) -> None:
    table = data / "table.csv"
    table.write_text("path,label\na/00.png,a\nnowhere/01.png,b\nb/08.png,b\n", encoding="utf-8")
    finding = _check(table).of(FindingKind.unreadable)
    assert finding is not None
    assert "relative to the table's folder" in finding.advice
    assert "damaged" not in finding.advice
    assert "source again" not in finding.advice
