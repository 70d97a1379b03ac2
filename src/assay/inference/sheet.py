"""Photos and their heat maps side by side on one picture.

Drawn with Pillow, since the plain install has no plotting library. Knows nothing of files.
"""

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from assay.inference.explanation import Explanation
from assay.text import printable

LIMIT = 48
"""Explanations on a sheet at most: it is to be looked at."""

_COLUMNS = 3
_SIDE = 224  # of a photo, in pixels
_GAP = 20
_SEAM = 4  # between a photo and its heat map
_LINE = 20
_INK, _MUTED, _BACKGROUND = (34, 34, 34), (110, 110, 110), (238, 240, 242)


def side_by_side(explanations: Sequence[Explanation], *, left_out: int = 0) -> np.ndarray:
    """Draw every photo beside its heat map, with its name, the answer and the class explained.

    Args:
        explanations: in reading order, one or more; those behind the first 48 are left out.
        left_out: how many others there are, which the last line tells.

    Returns:
        uint8 array of shape [H, W, 3], RGB; three pairs a row.

    Raises:
        ValueError: there is nothing to draw.
    """
    shown = explanations[:LIMIT]
    if not shown:
        raise ValueError("a sheet needs one explanation or more")
    columns = min(_COLUMNS, len(shown))
    tile = 2 * _SIDE + _SEAM, _SIDE + 2 * _LINE
    rows = -(-len(shown) // columns)
    left_out += len(explanations) - len(shown)
    width, height = columns * (tile[0] + _GAP) + _GAP, rows * (tile[1] + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height + (_LINE if left_out else 0)), "white")
    for place, explanation in enumerate(shown):
        row, column = divmod(place, columns)
        _draw(sheet, explanation, _GAP + column * (tile[0] + _GAP), _GAP + row * (tile[1] + _GAP))
    if left_out:
        _write(sheet, f"{left_out} more are not shown", (_GAP, height - _GAP // 2), _MUTED)
    return np.array(sheet)


def _draw(sheet: Image.Image, explanation: Explanation, left: int, top: int) -> None:
    for place, pixels in enumerate((explanation.small(_SIDE), explanation.overlay(_SIDE))):
        square = Image.new("RGB", (_SIDE, _SIDE), _BACKGROUND)
        height, width = pixels.shape[:2]
        square.paste(Image.fromarray(pixels), ((_SIDE - width) // 2, (_SIDE - height) // 2))
        sheet.paste(square, (left + place * (_SIDE + _SEAM), top))
    name = PurePath(explanation.prediction.source or "photo").name
    _write(sheet, name, (left, top + _SIDE + 3), _MUTED)
    _write(sheet, caption(explanation), (left, top + _SIDE + 3 + _LINE), _INK)


def caption(explanation: Explanation) -> str:
    """Say in one line what was answered and what the heat is evidence of."""
    prediction = explanation.prediction
    answer = f"{prediction.label} {100 * prediction.confidence:.1f} %"
    if explanation.peak is None:
        return f"{answer} · nothing here speaks for {explanation.label}"
    same = explanation.label == prediction.label
    return answer if same else f"{answer} · what speaks for {explanation.label}"


def _write(sheet: Image.Image, text: str, at: tuple[int, int], ink: tuple[int, int, int]) -> None:
    font = ImageFont.load_default(14)
    room, text = 2 * _SIDE + _SEAM, printable(text)
    if font.getlength(text) > room:
        while font.getlength(f"{text}…") > room:
            text = text[:-1]
        text += "…"
    ImageDraw.Draw(sheet).text(at, text, fill=ink, font=font)
