"""Words drawn on a frame: label, confidence, frames a second; and a line around what is looked at.

Knows nothing of windows or videos. Drawn with Pillow, whose own font knows Latin letters with accents.
"""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from assay.image import Preprocess
from assay.live.view import View

_INK, _PAPER = (255, 255, 255), (20, 20, 20)
_SURE, _DOUBT = (60, 180, 90), (230, 150, 40)
_SMALLEST = 14
"""Height of letters, in pixels, at which they can be read."""


def words(view: View) -> str:
    """Return what stands on a frame: `animal 93 %   30 frames/s`."""
    answer = view.answer
    doubt = f"unknown ({answer.reason}): " if answer.unknown and answer.reason else ""
    doubt = doubt or ("unknown: " if answer.unknown else "")
    return f"{doubt}{answer.label} {100 * answer.confidence:.0f} %   {view.fps:.0f} frames/s"


def drawn(view: View, preprocess: Preprocess) -> np.ndarray:
    """Return a copy of the frame, uint8 [H, W, 3] RGB, with its answer on it."""
    picture = view.frame.pixels.copy()
    left, top, right, bottom = preprocess.box(picture.shape[1], picture.shape[0])
    colour = _DOUBT if view.answer.unknown else _SURE
    cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), colour, _thickness(picture))
    return with_lines(picture, [words(view)])


def with_lines(picture: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Write lines of text into the upper left corner of a picture, in place, and return it."""
    size = max(_SMALLEST, picture.shape[0] // 24)
    top = 0
    for line in lines:
        strip = _strip(line, size)
        height = min(len(strip), len(picture) - top)
        width = min(strip.shape[1], picture.shape[1])
        picture[top : top + height, :width] = strip[:height, :width]
        top += height
    return picture


def _thickness(picture: np.ndarray) -> int:
    return max(1, int(min(picture.shape[:2])) // 240)


@lru_cache(maxsize=64)
def _strip(text: str, size: int) -> np.ndarray:
    """Return a line of text, light on dark: uint8 [h, w, 3]."""
    font = ImageFont.load_default(size)
    pad = size // 3
    _, _, right, bottom = font.getbbox(text)
    image = Image.new("RGB", (round(right) + 2 * pad, max(round(bottom), size) + 2 * pad), _PAPER)
    ImageDraw.Draw(image).text((pad, pad), text, _INK, font)
    return np.asarray(image)
