"""The command `assay check`."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Assay = Callable[..., Any]


def test_valid_data_set_passes(assay: Assay, photos: Path) -> None:
    ended = assay("check", photos, "--min-images", 5)

    assert ended.code == 0
    assert "12 photos, 2 classes" in ended.out
    assert "Nothing found" in ended.out


def test_label_conflict_fails(assay: Assay, photos: Path) -> None:
    shutil.copy(photos / "open/0.png", photos / "closed/0 again.png")

    assert assay("check", photos).code == 1
    assert assay("check", photos, "--fail-on", "never").code == 0
    assert assay("check", photos, "--fail-on", "blurred,leak").code == 0
    assert assay("check", photos, "--fail-on", "blurred,identical").code == 1


def test_only_json_on_standard_output(assay: Assay, photos: Path, tmp_path: Path) -> None:
    ended = assay("check", photos, "--json", "--html", tmp_path / "page.html", "--write", tmp_path / "clean.csv")

    assert json.loads(ended.out)["classes"] == {"closed": 6, "open": 6}
    assert str(tmp_path / "page.html") in ended.err
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "clean.csv").is_file()


def test_wrong_usage(assay: Assay, photos: Path, tmp_path: Path) -> None:
    unknown = assay("check", photos, "--fail-on", "everything")
    assert (unknown.code, "everything is unknown" in unknown.err) == (2, True)

    absent = assay("check", tmp_path / "absent")
    assert (absent.code, "absent" in absent.err) == (2, True)


def test_learning_curve_is_printed_and_in_the_json(assay: Assay, photos: Path) -> None:
    ended = assay("check", photos, "--min-images", 5, "--learning-curve")
    assert "learning curve of a linear probe on efficientnet-lite0" in ended.out
    assert len(re.findall(r"^[\d,]+ .*measured$", ended.out, re.MULTILINE)) == 4
    found = json.loads(assay("check", photos, "--min-images", 5, "--learning-curve", "--json").out)
    assert len(found["learning_curve"]["points"]) == 4
    refused = assay("check", photos, "-r", "custom-resnet", "--learning-curve")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "needs pretrained weights" in refused.err
    # Before anything is read.
    assert refused.out == ""


def test_page_shows_the_learning_curve(assay: Assay, photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assay("check", photos, "--min-images", 5, "--learning-curve", "--html", page)
    text = page.read_text(encoding="utf-8")
    assert "Learning curve</h2>" in text
    assert "data:image/svg+xml" in text


def test_findings_are_printed_before_a_learning_curve_that_cannot_be_measured(assay: Assay, photos: Path) -> None:
    for folder in photos.iterdir():
        for photo in sorted(folder.iterdir())[1:]:
            photo.unlink()
    ended = assay("check", photos, "--learning-curve", "--fail-on", "never")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "2 photos" in ended.out
    ended = assay("check", photos, "--learning-curve", "--fail-on", "never", "--json")
    assert "learning_curve" not in json.loads(ended.out)
    page = photos.parent / "page.html"
    ended = assay("check", photos, "--learning-curve", "--fail-on", "never", "--html", page)
    assert (ended.code, page.is_file()) == (1, True)
