"""Explanations of predictions: the evidence for a class in each part of an image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from assay.core import notebook_html
from assay.image import Preprocess
from assay.image.decode import Box
from assay.image.overlay import encode_png, heatmap_overlay
from assay.inference.cam import heat_map, peak_position
from assay.inference.inputs import ImageInput
from assay.inference.prediction import Prediction

MAX_SIDE = 1024
"""Maximum length of the longer side of the images, in pixels."""

_NOTEBOOK_SIDE = 384

Explainer = Callable[[ImageInput, str | None], "Explanation"]
"""Explains an image and a class, or the predicted class if None; raises AssayError."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """The evidence for a class in each part of an image.

    Attributes:
        label: the explained class.
        prediction: the prediction, whichever class is explained.
        method: "cam", the class activation map, or "grad-cam".
        cells: float32 array of shape [h, w]: evidence for `label` against the other classes in each cell of the
            feature map, in units of logits.
        photo: uint8 array of shape [H, W, 3], RGB, upright; at most 1024 pixels on the longer side.
        width: width of the original image, upright, in pixels.
        height: height of the original image, upright, in pixels.
        preprocess: preprocessing of the classifier.
    """

    label: str
    prediction: Prediction
    method: str
    cells: np.ndarray
    photo: np.ndarray
    width: int
    height: int
    preprocess: Preprocess

    @property
    def heat(self) -> np.ndarray:
        """Evidence for each pixel of `photo`, float32 [H, W], 0-1; see `assay.inference.cam.heat_map`."""
        height, width = self.photo.shape[:2]
        return heat_map(self.cells, self.preprocess, width, height)

    @property
    def peak(self) -> tuple[int, int] | None:
        """Column and row of the strongest evidence, in pixels of the original image; None if there is none."""
        height, width = self.photo.shape[:2]
        found = peak_position(self.heat)
        if found is None:
            return None
        column, row = found
        return int((column + 0.5) * self.width / width), int((row + 0.5) * self.height / height)

    @property
    def crop_box(self) -> Box:
        """The region that the network sees: left, top, right, bottom in pixels of the original image."""
        return self.preprocess.box(self.width, self.height)

    def overlay(self, side: int = MAX_SIDE) -> np.ndarray:
        """Return the image with the heat map, uint8 [h, w, 3], the longer side at most `side` pixels."""
        photo = self.small(side)
        height, width = photo.shape[:2]
        heat = heat_map(self.cells, self.preprocess, width, height)
        return heatmap_overlay(photo, heat, self.preprocess.box(width, height))

    def small(self, side: int = MAX_SIDE) -> np.ndarray:
        """Return the image, uint8 [h, w, 3], the longer side at most `side` pixels."""
        height, width = self.photo.shape[:2]
        scale = side / max(height, width)
        if scale >= 1:
            return self.photo
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return np.array(Image.fromarray(self.photo).resize(size, Image.Resampling.BILINEAR))

    def png(self, side: int = MAX_SIDE) -> bytes:
        """Return `overlay` as PNG."""
        return encode_png(self.overlay(side))

    def _repr_html_(self) -> str:
        about = f"evidence for {self.label}; prediction: {self.prediction.label}"
        return notebook_html.panel(about, notebook_html.image(self.png(_NOTEBOOK_SIDE), about, _NOTEBOOK_SIDE))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without images."""
        return {
            **self.prediction.to_dict(),
            "explained": self.label,
            "method": self.method,
            "peak": self.peak,
            "crop_box": self.crop_box,
            "size": (self.width, self.height),
            "cells": [[round(float(value), 4) for value in row] for row in self.cells],
        }
