"""The output of `assay check`: summary and page."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.data import check_output
from assay.data.check import check
from assay.data.check_output import format_check_summary, write_check_page
from assay.data.check_result import CheckReport


@pytest.fixture
def report(tmp_path: Path) -> CheckReport:
    root = tmp_path / "data"
    for seed in range(8):
        small = np.random.default_rng(seed).integers(30, 226, (12, 16, 3), np.uint8)
        path = root / ("a" if seed < 4 else "<b>") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC).save(path)
    shutil.copy(root / "a/0.png", root / "<b>/again.png")
    (root / "a/broken.jpg").write_bytes(b"\xff\xd8\xff")
    return check(root, cache=tmp_path / "cache")


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.found += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_summary_names_everything_once(report: CheckReport) -> None:
    text = format_check_summary(report)

    assert text.startswith("9 photos, 2 classes")
    for finding in report.findings:
        assert finding.title in text
        assert finding.advice in text
    assert "<b>/again.png" in text
    assert "a/broken.jpg (damaged: " in text


def test_summary_of_valid_data() -> None:
    assert "Nothing found" in format_check_summary(CheckReport(Path(), 0, {}, {}, ()))


def test_page_is_self_contained_and_shows_every_group(report: CheckReport, tmp_path: Path) -> None:
    path = tmp_path / "check.html"
    write_check_page(report, path)
    text = path.read_text(encoding="utf-8")
    parser = _Addresses()
    parser.feed(text)

    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in parser.found)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert sum(address.startswith("data:") for address in parser.found) >= 4
    assert "&lt;b&gt;/again.png" in text
    assert "<b>/again.png" not in text


def test_size_of_the_page_is_bounded(report: CheckReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_output, "MAX_THUMBNAILS", 1)
    write_check_page(report, tmp_path / "check.html")
    text = (tmp_path / "check.html").read_text(encoding="utf-8")

    assert text.count("data:image") <= 1
    assert "more is not shown here" in text


def test_image_deleted_since_the_check_is_shown_by_name(report: CheckReport, tmp_path: Path) -> None:
    (report.root / "a/0.png").unlink()
    write_check_page(report, tmp_path / "check.html")

    assert "a/0.png" in (tmp_path / "check.html").read_text(encoding="utf-8")
