"""One rule for the values of a whole data set, in `load_dataset` and in `check`."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.core.errors import AssayError
from assay.data.check import check
from assay.data.check_findings import Finding, FindingKind, Severity
from assay.data.image_scan import value_range_conflict
from assay.data.loading import load_dataset
from assay.image.pixel_conversion import UINT8, ValueEncoding

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write `count` photos of a type into both classes of a data set."""

    def put(name: str, dtype: str, count: int = 3, high: float = 1, **tags: float) -> Path:
        for label in ("a", "b"):
            for number in range(count):
                path = tmp_path / "data" / label / f"{name}{number}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = np.random.default_rng([number, ord(label), len(name)]).random((12, 16))
                image = Image.fromarray((noise * high).astype(dtype))
                image = image.resize((160, 120), Image.Resampling.NEAREST)
                image.save(path, tiffinfo={int(tag[1:]): value for tag, value in tags.items()})
        return tmp_path / "data"

    return put


def _finding(root: Path, value_range: tuple[float, float] | None = None) -> Finding | None:
    for _ in range(2):  # the second time from what is kept
        report = check(root, cache=root.parent / "cache", value_range=value_range)
        found = report.of(FindingKind.value_range)
        with contextlib.suppress(AssayError):  # training stops: other tests say how
            unreadable = {one.reason for one in load_dataset(root, value_range=value_range).unreadable}
            listed = report.of(FindingKind.unreadable)
            groups = () if listed is None else listed.groups
            assert {entry.note for group in groups for entry in group.photos} == unreadable
    return found


def test_floats_without_a_range_are_refused_by_both(write: Write):
    root = write("f", "float32")
    with pytest.raises(AssayError, match=r"none of the 6 photos .*float32 without a declared range; set preproc"):
        load_dataset(root)
    finding = _finding(root)
    assert finding is not None
    assert finding.severity is Severity.error
    assert finding.title == "values of more than 8 bits: float32 without a declared range: 6"
    assert "preprocess.value_range" in finding.advice
    assert len(load_dataset(root, value_range=(0, 1)).samples) == 6
    assert _finding(root, (0, 1)) is None


def test_some_floats_among_others_are_listed(write: Write):
    write("f", "float32", count=1)
    root = write("u", "uint8", high=255)
    data = load_dataset(root)
    assert len(data.samples) == 6
    assert all("float32 without a declared range" in one.reason for one in data.unreadable)
    finding = _finding(root)
    assert finding is not None
    assert "uint8, 0 to 255: 6; float32 without a declared range: 2" in finding.title


def test_one_declared_range_is_fine(write: Write):
    root = write("f", "float32", t340=0.0, t341=1.0)
    assert len(load_dataset(root).samples) == 6
    assert _finding(root) is None


def test_ranges_that_follow_the_content_are_refused(write: Write):
    write("one", "float32", t340=0.0, t341=1.0)
    root = write("two", "float32", high=0.5, t340=0.0, t341=0.5)
    with pytest.raises(
        AssayError, match=r"declare different ranges of values \(float32, 0 to 0.5: 6; float32, 0 to 1: 6"
    ):
        load_dataset(root)
    finding = _finding(root)
    assert finding is not None
    assert finding.severity is Severity.error
    assert len(load_dataset(root, value_range=(0, 1)).samples) == 12


def test_8_and_16_bits_may_stand_together_and_are_told(write: Write):
    write("deep", "uint16", high=65535, count=2)
    root = write("u", "uint8", high=255)
    assert len(load_dataset(root).samples) == 10
    finding = _finding(root)
    assert finding is not None
    assert finding.severity is Severity.note
    assert "uint8, 0 to 255: 6; uint16, 0 to 65535: 4" in finding.title


def test_12_bits_in_16_are_suspected(write: Write):
    root = write("deep", "uint16", high=4095)
    finding = _finding(root)
    assert finding is not None
    assert finding.severity is Severity.warning
    assert "[0, 4095]" in finding.advice
    assert len(load_dataset(root, value_range=(0, 4095)).samples) == 6


def test_photos_that_seem_black_for_want_of_a_range_are_not_simply_to_be_deleted(write: Write):
    root = write("deep", "uint16", high=1023)
    blank = check(root, cache=root.parent / "cache").of(FindingKind.blank)
    assert blank is not None
    assert blank.advice.startswith("See first whether their values need preprocess.value_range.")
    assert check(root, cache=root.parent / "cache", value_range=(0, 1023)).of(FindingKind.blank) is None


def test_a_range_for_all_needs_one_kind_of_values(write: Write):
    write("deep", "uint16", high=4095)
    root = write("f", "float32", high=4095)
    with pytest.raises(AssayError, match=r"integers and floating-point values cannot share a range .*convert"):
        load_dataset(root, value_range=(0, 4095))


def test_8_bits_need_nothing(write: Write):
    root = write("u", "uint8", high=255)
    assert _finding(root) is None
    assert len(load_dataset(root, value_range=(0, 4095)).samples) == 6


def test_many_ranges_are_told_briefly():
    counts = {ValueEncoding("float32", (0, float(high))): 1 for high in range(1, 40)}
    why = value_range_conflict({**counts, UINT8: 900}, None)
    assert why is not None
    assert why.endswith("; 35 more)")
    assert len(why) < 200
