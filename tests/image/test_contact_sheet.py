"""Contact sheets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.evaluation.evaluation_files import misclassified_sheet
from assay.evaluation.predictions import Mistake
from assay.image.contact_sheet import CaptionLine, ContactSheet, Tile
from assay.image.thumbnail import letterbox, square_thumbnail


def mistakes(count: int, path: str = "/nowhere.jpg", source: str | None = None) -> list[Mistake]:
    return [Mistake(k, f"id {k}", path, "cat", "dog", 0.987, source) for k in range(count)]


def words(sheet: ContactSheet) -> list[str]:
    texts = [sheet.title, sheet.note]
    for tile in sheet.tiles:
        texts += [*(line.text for line in tile.lines), *filter(None, [tile.problem])]
    return texts


def test_tile_shows_label_prediction_confidence_and_id():
    message = words(misclassified_sheet(mistakes(1)))
    assert message[:2] == [
        "Misclassified photos (1)",
        "label → prediction and its confidence · most confident first",
    ]
    assert message[2:5] == ["cat", "→ dog  98.7 %", "id 0"]


def test_source_label_is_shown_beside_the_label():
    assert "cat (tiger)" in words(misclassified_sheet(mistakes(1, source="tiger")))
    assert "cat" in words(misclassified_sheet(mistakes(1, source="cat")))


def test_sheet_is_bounded_and_counts_the_rest():
    message = words(misclassified_sheet(mistakes(30), limit=7))
    assert message[1].endswith("7 of 30 shown, 23 more in misclassified.csv")
    assert sum(text.startswith("id ") for text in message) == 7


def test_sheet_without_mistakes():
    assert "None: every prediction matches the label." in words(misclassified_sheet([]))


def test_unreadable_photo_shows_the_reason():
    assert any("file is" in text for text in words(misclassified_sheet(mistakes(1))))


def test_photos_are_shown_unscaled(tmp_path: Path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (236, 236, 3), dtype=np.uint8)).save(tmp_path / "p.png")
    page = np.asarray(misclassified_sheet(mistakes(8, str(tmp_path / "p.png"))).draw())
    photo = np.asarray(Image.open(tmp_path / "p.png"))
    assert (page[84 : 84 + 236, 18 : 18 + 236] == photo).all()
    assert (page[84 : 84 + 236, 18 + 254 : 18 + 254 + 236] == photo).all()


@pytest.mark.parametrize("name", ["W" * 60, "$x^{", "電" * 40, "a\nb", "é" * 90])
def test_long_and_odd_names_stay_within_their_tile(tmp_path: Path, name: str):
    photo = square_thumbnail(tmp_path / "none", 236)
    tile = Tile((photo.pixels,), (CaptionLine(name, bold=True), CaptionLine(name)), photo.problem)
    page = np.asarray(ContactSheet([tile] * 3, 6, 236, "title", "note").draw())
    captions = page[84 + 236 + 1 :]
    assert (captions < 128).any()
    for gap in (slice(0, 17), slice(18 + 237, 254 + 17), slice(18 + 254 + 237, 508 + 17)):
        assert (captions[:, gap] == 255).all()


def test_progress_is_reported(tmp_path: Path):
    result: list[tuple[str, int, int]] = []
    misclassified_sheet(mistakes(3, str(tmp_path)), progress=lambda *step: result.append(step))
    assert result == [("misclassified photos", k, 3) for k in (1, 2, 3)]


def test_rows_grow_with_the_photos():
    photo = square_thumbnail("/nowhere", 236)
    tile = Tile((photo.pixels,), (CaptionLine("x"),), photo.problem)
    item, three = (ContactSheet([tile] * count, 6, 236, "t", "n").draw().height for count in (6, 13))
    assert three > 2 * item
    assert letterbox(np.zeros((4, 4, 3), dtype=np.uint8), 236).shape == (236, 236, 3)


def test_sheet_is_reproducible_also_without_tiles():
    sheet = misclassified_sheet(mistakes(2))
    assert sheet.draw().tobytes() == sheet.draw().tobytes()
    assert misclassified_sheet([]).draw().height < 150
