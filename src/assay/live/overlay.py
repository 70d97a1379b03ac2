"""Draw predictions and text on frames."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from assay.image import Preprocess
from assay.live.watch_loop import FrameResult

_INK, _PAPER = (255, 255, 255), (20, 20, 20)
_KNOWN_COLOUR, _UNKNOWN_COLOUR = (60, 180, 90), (230, 150, 40)
_MIN_FONT_SIZE = 14
"""Height of letters, in pixels, at which they can be read."""


def overlay_text(view: FrameResult) -> str:
    """Return what stands on a frame: `animal 93 %   30 frames/s`."""
    answer = view.answer
    doubt = f"unknown ({answer.reason}): " if answer.unknown and answer.reason else ""
    doubt = doubt or ("unknown: " if answer.unknown else "")
    return f"{doubt}{answer.label} {100 * answer.confidence:.0f} %   {view.fps:.0f} frames/s"


def draw_result(view: FrameResult, preprocess: Preprocess) -> np.ndarray:
    """Return a copy of the frame, uint8 [H, W, 3] RGB, with its answer on it."""
    picture = view.frame.pixels.copy()
    left, top, right, bottom = preprocess.box(picture.shape[1], picture.shape[0])
    colour = _UNKNOWN_COLOUR if view.answer.unknown else _KNOWN_COLOUR
    cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), colour, _thickness(picture))
    return draw_lines(picture, [overlay_text(view)])


def draw_lines(picture: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Write lines of text into the upper left corner of a picture, in place, and return it."""
    size = max(_MIN_FONT_SIZE, picture.shape[0] // 24)
    top = 0
    for line in lines:
        strip = _text_strip(line, size)
        height = min(len(strip), len(picture) - top)
        width = min(strip.shape[1], picture.shape[1])
        picture[top : top + height, :width] = strip[:height, :width]
        top += height
    return picture


def _thickness(picture: np.ndarray) -> int:
    return max(1, int(min(picture.shape[:2])) // 240)


@lru_cache(maxsize=64)
def _text_strip(text: str, size: int) -> np.ndarray:
    """Return a line of text, light on dark: uint8 [h, w, 3]."""
    font = ImageFont.load_default(size)
    pad = size // 3
    _, _, right, bottom = font.getbbox(text)
    image = Image.new("RGB", (round(right) + 2 * pad, max(round(bottom), size) + 2 * pad), _PAPER)
    ImageDraw.Draw(image).text((pad, pad), text, _INK, font)
    return np.asarray(image)
