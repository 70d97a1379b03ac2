"""Conversion of the solar cell data set: the content of the installed package, and invalid lists."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from assay.core.errors import AssayError
from assay.data.fetch.converters import ELPV_CLASSES, find_installed_elpv, prepare_elpv, write_elpv


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The publisher's layout with four cells."""
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    lines = []
    for number, probability in enumerate(("0.0", "0.3333333333333333", "0.6666666666666666", "1.0"), 1):
        name = f"images/cell{number:04}.png"
        (folder / name).write_bytes(f"cell {number}".encode())
        lines.append(f"{name}  {probability:20} {'mono' if number % 2 else 'poly'}\n")
    (folder / "labels.csv").write_text("".join(lines))
    return folder


def test_probability_of_half_and_more_is_defective(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    write_elpv(source, folder)
    assert (folder / "manifest.csv").read_text() == (
        "path,label,source_label\n"
        "functional/cell0001.png,functional,mono\n"
        "functional/cell0002.png,functional,poly\n"
        "defective/cell0003.png,defective,mono\n"
        "defective/cell0004.png,defective,poly\n"
    )
    assert (folder / "defective" / "cell0004.png").read_bytes() == b"cell 4"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("images/cell0001.png 0.5\n", "cannot be read"),
        ("images/cell0001.png half mono\n", "cannot be read"),
        ("images/cell0009.png 0.5 mono\n", "cell0009.png"),
        ("images/cell0001.png 0.5 mono\n" * 2, "twice"),
    ],
)
def test_invalid_lists_raise(source: Path, tmp_path: Path, labels: str, message: str) -> None:
    (source / "labels.csv").write_text(labels)
    folder = tmp_path / "cells"
    folder.mkdir()
    with pytest.raises(AssayError, match=message):
        write_elpv(source, folder)


def test_installed_package_is_converted(tmp_path: Path) -> None:
    installed = find_installed_elpv()
    if installed is None:
        pytest.skip("elpv-dataset is not installed")
    manifest = prepare_elpv(tmp_path / "cells")
    with manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert Counter(row["label"] for row in rows) == {"functional": 1803, "defective": 821}
    assert Counter(row["source_label"] for row in rows) == {"mono": 1074, "poly": 1550}
    for row in rows[::500]:
        copy = (manifest.parent / row["path"]).read_bytes()
        original = (installed / "images" / Path(row["path"]).name).read_bytes()
        assert hashlib.sha256(copy).digest() == hashlib.sha256(original).digest()
    before = manifest.stat().st_mtime_ns
    assert prepare_elpv(tmp_path / "cells") == manifest
    assert manifest.stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


def test_folder_with_other_files_is_not_changed(tmp_path: Path) -> None:
    if find_installed_elpv() is None:
        pytest.skip("elpv-dataset is not installed")
    (tmp_path / ELPV_CLASSES[0]).mkdir()
    with pytest.raises(AssayError, match="exists already"):
        prepare_elpv(tmp_path)
