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
"""Minimum legible font size, in pixels."""


def overlay_text(result: FrameResult) -> str:
    """Return the text for a frame: `animal 93 %   30 frames/s`."""
    smoothed = result.smoothed
    reason = f" ({smoothed.reason.replace('_', ' ')})" if smoothed.reason else ""
    prefix = f"unknown{reason}: " if smoothed.unknown else ""
    return f"{prefix}{smoothed.label} {100 * smoothed.confidence:.0f} %   {result.fps:.0f} frames/s"


def draw_result(result: FrameResult, preprocess: Preprocess) -> np.ndarray:
    """Return a copy of the frame, uint8 [H, W, 3] RGB, with the prediction and the crop box drawn on it."""
    image = result.frame.pixels.copy()
    left, top, right, bottom = preprocess.box(image.shape[1], image.shape[0])
    colour = _UNKNOWN_COLOUR if result.smoothed.unknown else _KNOWN_COLOUR
    cv2.rectangle(image, (left, top), (right - 1, bottom - 1), colour, _thickness(image))
    return draw_lines(image, [overlay_text(result)])


def draw_lines(image: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Draw lines of text into the upper left corner of an image, in place, and return it."""
    size = max(_MIN_FONT_SIZE, image.shape[0] // 24)
    top = 0
    for line in lines:
        strip = _text_strip(line, size)
        height = min(len(strip), len(image) - top)
        width = min(strip.shape[1], image.shape[1])
        image[top : top + height, :width] = strip[:height, :width]
        top += height
    return image


def _thickness(image: np.ndarray) -> int:
    return max(1, int(min(image.shape[:2])) // 240)


@lru_cache(maxsize=64)
def _text_strip(text: str, size: int) -> np.ndarray:
    """Render a line of text, light on dark, uint8 [h, w, 3]."""
    font = ImageFont.load_default(size)
    pad = size // 3
    _, _, right, bottom = font.getbbox(text)
    image = Image.new("RGB", (round(right) + 2 * pad, max(round(bottom), size) + 2 * pad), _PAPER)
    ImageDraw.Draw(image).text((pad, pad), text, _INK, font)
    return np.asarray(image)
