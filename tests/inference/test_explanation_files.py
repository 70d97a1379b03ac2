"""Overlay files and a contact sheet; unreadable photos are skipped, and no photo is overwritten."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.core.errors import AssayError, UsageError
from assay.inference import Classifier
from assay.inference.explanation_files import MAX_ON_SHEET, caption, draw_contact_sheet, write_explanations


def test_every_photo_has_an_overlay_and_a_tile_on_the_sheet(
    classifier: Classifier, photos: dict[str, Path], tmp_path: Path
):
    seen: list[tuple[int, int]] = []
    result = write_explanations(
        classifier.explain,
        list(photos.values()),
        tmp_path / "why",
        progress=lambda _, done, total: seen.append((done, total)),
    )
    assert [row["explained"] for row in result.rows] == ["red", "green", "blue"]
    assert [Path(row["file"]).name for row in result.rows] == [
        "red-heat.png",
        "green ü-heat.png",
        "blue-heat.png",
    ]
    assert all(Path(row["file"]).is_file() for row in result.rows)
    assert result.sheet == tmp_path / "why" / "sheet.png"
    with Image.open(result.sheet) as sheet:
        assert sheet.size[0] > 3 * 2 * 224
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert result.failures == ()


def test_unreadable_photos_are_reported_and_the_others_drawn(
    classifier: Classifier, photos: dict[str, Path], tmp_path: Path
):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    result = write_explanations(classifier.explain, [bad, photos["red"]], tmp_path / "why")
    assert len(result.rows) == 1
    assert len(result.failures) == 1
    assert "bad.png cannot be read" in result.failures[0]
    nothing = write_explanations(classifier.explain, [bad], tmp_path / "none")
    assert nothing.sheet is None
    assert not (tmp_path / "none").exists()


def test_photos_of_the_same_name_get_different_files(classifier: Classifier, photos: dict[str, Path], tmp_path: Path):
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "Red.png").write_bytes(photos["red"].read_bytes())
    result = write_explanations(classifier.explain, sorted(tmp_path.glob("*/Red.png")), tmp_path / "why")
    assert [Path(row["file"]).name for row in result.rows] == [
        "Red-heat.png",
        "Red-2-heat.png",
        "Red-3-heat.png",
    ]


def test_output_in_the_folder_of_the_photos_is_rejected(classifier: Classifier, photos: dict[str, Path]):
    folder = photos["red"].parent
    before = sorted(folder.iterdir())
    with pytest.raises(UsageError, match="choose another --out"):
        write_explanations(classifier.explain, list(photos.values()), folder)
    assert sorted(folder.iterdir()) == before


def test_unknown_class_raises_at_once(classifier: Classifier, photos: dict[str, Path], tmp_path: Path):
    with pytest.raises(UsageError, match="no class 'pink'"):
        write_explanations(classifier.explain, list(photos.values()), tmp_path / "why", label="pink")


def test_folder_that_cannot_be_created_raises(classifier: Classifier, photos: dict[str, Path], tmp_path: Path):
    (tmp_path / "why").write_text("a file", encoding="utf-8")
    with pytest.raises(AssayError, match="cannot write"):
        write_explanations(classifier.explain, [photos["red"]], tmp_path / "why")


def test_contact_sheet_is_bounded_and_counts_the_rest(classifier: Classifier):
    item = classifier.explain(np.full((20, 30, 3), (200, 0, 0), dtype=np.uint8))
    whole, cut = draw_contact_sheet([item] * MAX_ON_SHEET), draw_contact_sheet([item] * (MAX_ON_SHEET + 3))
    assert cut.shape[1] == whole.shape[1]
    assert whole.shape[0] < cut.shape[0] < whole.shape[0] + 40
    assert draw_contact_sheet([item]).shape[1] < whole.shape[1] / 2
    with pytest.raises(ValueError, match="at least one explanation"):
        draw_contact_sheet([])


def test_long_name_stays_on_its_tile(classifier: Classifier, photos: dict[str, Path], tmp_path: Path):
    path = tmp_path / f"{'long ' * 40}.png"
    path.write_bytes(photos["red"].read_bytes())
    sheet = draw_contact_sheet([classifier.explain(path), classifier.explain(photos["red"])])
    gap = sheet[:, sheet.shape[1] // 2 - 4 : sheet.shape[1] // 2 + 4]
    assert gap.min() == 255


def test_captions_name_the_explained_class(classifier: Classifier):
    red = np.full((20, 30, 3), (255, 0, 0), dtype=np.uint8)
    assert caption(classifier.explain(red)).startswith("red 99.9 %")
    assert caption(classifier.explain(red, "blue")).endswith("no evidence for blue")
    both = red.copy()
    both[:, :10] = (0, 0, 255)
    assert caption(classifier.explain(both, "blue")).endswith("evidence for blue")
