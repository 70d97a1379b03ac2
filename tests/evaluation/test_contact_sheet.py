from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from assay.evaluation.contact_sheet import CaptionLine, Tile, contact_sheet, letterbox, misclassified_sheet, thumbnail
from assay.evaluation.figure_style import to_png
from assay.evaluation.predictions import Mistake


def mistakes(count: int, path: str = "/nowhere.jpg", source: str | None = None) -> list[Mistake]:
    return [Mistake(k, f"id {k}", path, "cat", "dog", 0.987, source) for k in range(count)]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_tile_says_label_prediction_confidence_and_id():
    said = words(misclassified_sheet(mistakes(1)))
    assert said[:2] == [
        "Misclassified photos (1)",
        "label → prediction and its confidence · most confident first",
    ]
    assert said[2:5] == ["cat", "→ dog  98.7 %", "id 0"]


def test_source_label_stands_beside_the_label():
    assert "cat (tiger)" in words(misclassified_sheet(mistakes(1, source="tiger")))
    assert "cat" in words(misclassified_sheet(mistakes(1, source="cat")))


def test_sheet_is_bounded_and_says_what_is_left_out():
    said = words(misclassified_sheet(mistakes(30), limit=7))
    assert said[1].endswith("7 of 30 shown, 23 more in misclassified.csv")
    assert sum(text.startswith("id ") for text in said) == 7


def test_no_mistakes_is_said():
    assert "None: every prediction matches the label." in words(misclassified_sheet([]))


def test_photo_that_cannot_be_read_says_why():
    assert any("file is" in text for text in words(misclassified_sheet(mistakes(1))))


def test_photos_are_shown_pixel_for_pixel(tmp_path: Path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (236, 236, 3), dtype=np.uint8)).save(tmp_path / "p.png")
    figure = misclassified_sheet(mistakes(8, str(tmp_path / "p.png")))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = np.asarray(canvas.buffer_rgba())[..., :3]
    photo = np.asarray(Image.open(tmp_path / "p.png"))
    assert (page[84 : 84 + 236, 18 : 18 + 236] == photo).all()
    assert (page[84 : 84 + 236, 18 + 254 : 18 + 254 + 236] == photo).all()


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
@pytest.mark.parametrize("name", ["W" * 60, "$x^{", "電" * 40, "a\nb", "é" * 90])
def test_long_and_odd_names_stay_within_their_tile(tmp_path: Path, name: str):
    tile = Tile(thumbnail(tmp_path / "none", 236), (CaptionLine(name, bold=True), CaptionLine(name)))
    figure = contact_sheet("title", "note", [tile] * 3)
    assert to_png(figure).startswith(b"\x89PNG")
    renderer = FigureCanvasAgg(figure).get_renderer()
    widths = [text.get_window_extent(renderer).width for text in figure.axes[0].texts[2:4]]
    assert max(widths) <= 236 + 12  # the gap between tiles is 18


def test_progress_is_told(tmp_path: Path):
    told: list[tuple[str, int, int]] = []
    misclassified_sheet(mistakes(3, str(tmp_path)), progress=lambda *step: told.append(step))
    assert told == [("misclassified photos", k, 3) for k in (1, 2, 3)]


def test_rows_grow_with_the_photos():
    tile = Tile(thumbnail("/nowhere", 236), (CaptionLine("x"),))
    one, three = (contact_sheet("t", "n", [tile] * count).get_figheight() for count in (6, 13))
    assert three > 2 * one
    assert letterbox(np.zeros((4, 4, 3), dtype=np.uint8), 236).shape == (236, 236, 3)
