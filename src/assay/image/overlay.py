"""A heat map laid over a photo, and pictures as PNG files.

Knows nothing of where heat comes from. The colours are a perceptually uniform scale whose lightness rises
with the heat, so that it reads alike to colour-blind people and in print without colours.
"""

import io

import cv2
import numpy as np
from PIL import Image

_COLOUR = 0.55
"""Share of the colour in the picture; the rest is the photo."""
_HALF = 0.5
"""Heat at which the line is drawn."""
_UNSEEN = 0.55
"""Brightness left to what the network does not look at."""


def heat_overlay(
    photo: np.ndarray, heat: np.ndarray, box: tuple[int, int, int, int] | None = None
) -> np.ndarray:
    """Colour a photo by heat.

    The photo is shown in gray, so that every colour is heat, and its own light and dark count less than the
    scale's. A line goes around what has half of the strongest heat or more.

    Args:
        photo: uint8 array of shape [H, W, 3], RGB.
        heat: float array of shape [H, W], 0-1.
        box: left, top, right, bottom of what was looked at, in pixels; the rest is darkened. None: all.

    Returns:
        uint8 array of shape [H, W, 3], RGB.

    Raises:
        ValueError: photo and heat differ in size.

    Source: the scale is inferno of matplotlib (van der Walt, Smith, 2015).
    """
    if photo.shape[:2] != heat.shape:
        raise ValueError(f"heat {list(heat.shape)} does not fit a photo {list(photo.shape)}")
    levels = np.rint(heat.clip(0, 1) * 255).astype(np.uint8)
    colour = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    gray = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    picture: np.ndarray = cv2.addWeighted(gray, 1 - _COLOUR, colour, _COLOUR, 0)
    _outline(picture, levels)
    return picture if box is None else _dim_outside(picture, box)


def encode_png(pixels: np.ndarray) -> bytes:
    """Return RGB pixels, uint8 [H, W, 3], as the bytes of a PNG file; the same pixels give the same bytes."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _outline(picture: np.ndarray, levels: np.ndarray) -> None:
    hot = (levels >= round(_HALF * 255)).astype(np.uint8)
    outlines, _ = cv2.findContours(hot, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    width = max(1, round(max(picture.shape) / 500))
    cv2.drawContours(picture, outlines, -1, (255, 255, 255), width, cv2.LINE_AA)


def _dim_outside(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    dim = (picture * _UNSEEN).astype(np.uint8)
    dim[top:bottom, left:right] = picture[top:bottom, left:right]
    return dim
