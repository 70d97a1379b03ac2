"""Overlay of a heat map on an image, and encoding as PNG."""

import io

import numpy as np
from PIL import Image

_COLOR_SHARE = 0.55
"""Share of the heat map in the blend; the rest is the photo."""
_OUTLINE_HEAT = 0.5
"""Heat at which the outline is drawn."""
_OUTSIDE_BRIGHTNESS = 0.55
"""Brightness factor outside the part that the network sees."""


def heatmap_overlay(photo: np.ndarray, heat: np.ndarray, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Blend a heat map over the gray version of a photo, and outline where the heat is 0.5 or more.

    The perceptually uniform colour map gets lighter with the heat, so that it is readable for colour-blind
    people and in black-and-white print.

    Args:
        photo: uint8 array of shape [H, W, 3], RGB.
        heat: float array of shape [H, W], 0-1; `ValueError` for another size.
        box: left, top, right, bottom of the region that the network sees, in pixels; the rest is dark. None: the whole
            photo.

    Source: matplotlib's colour map inferno (van der Walt, Smith, 2015).
    """
    if photo.shape[:2] != heat.shape:
        raise ValueError(f"heat {list(heat.shape)} does not fit a photo {list(photo.shape)}")
    import cv2  # noqa: PLC0415 - prediction does not need OpenCV

    levels = np.rint(heat.clip(0, 1) * 255).astype(np.uint8)
    colour = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    gray = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    picture: np.ndarray = cv2.addWeighted(gray, 1 - _COLOR_SHARE, colour, _COLOR_SHARE, 0)
    hot = (levels >= round(_OUTLINE_HEAT * 255)).astype(np.uint8)
    outlines, _ = cv2.findContours(hot, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    width = max(1, round(max(picture.shape) / 500))
    cv2.drawContours(picture, outlines, -1, (255, 255, 255), width, cv2.LINE_AA)
    return picture if box is None else _dim_outside(picture, box)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode RGB pixels, uint8 [H, W, 3], as a PNG file; deterministic."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _dim_outside(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    dim = (picture * _OUTSIDE_BRIGHTNESS).astype(np.uint8)
    dim[top:bottom, left:right] = picture[top:bottom, left:right]
    return dim
