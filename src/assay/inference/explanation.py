"""Why a photo was classified as it was: a map of evidence, and the pictures made of it.

Knows photos and maps; how a map comes about is another's business (`assay.inference.cam`, or gradients where
the head is no single layer).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from assay import notebook
from assay.image import Preprocess
from assay.image.decode import Box
from assay.image.overlay import encode_png, heat_overlay
from assay.inference.cam import heat_map, peak
from assay.inference.inputs import Photo
from assay.inference.prediction import Prediction

SIDE = 1024
"""The most pixels that the longer side of an explanation's pictures has."""

_SHOWN = 384  # in a notebook

Explain = Callable[[Photo, str | None], "Explanation"]
"""From a photo and a class, or none for the predicted one, to an explanation; raises AssayError."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What in a photo speaks for a class.

    Attributes:
        label: the class explained.
        prediction: the classifier's answer, whichever class is explained.
        method: "cam", the class activation map, or "grad-cam".
        cells: float32 array of shape [h, w]: evidence for `label` against the other classes in every cell
            of the feature map, in units of logits.
        photo: uint8 array of shape [H, W, 3], RGB, upright; the longer side has 1024 pixels or fewer.
        width: of the photo as it was given, upright, in pixels.
        height: of the photo as it was given, upright, in pixels.
        preprocess: what the network sees of a photo.
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
        """Evidence for every pixel of `photo`, float32 [H, W], 0-1: see `assay.inference.cam.heat_map`."""
        height, width = self.photo.shape[:2]
        return heat_map(self.cells, self.preprocess, width, height)

    @property
    def peak(self) -> tuple[int, int] | None:
        """Column and row of the strongest evidence, in pixels of the photo as it was given.

        None where nothing in the photo speaks for the class.
        """
        height, width = self.photo.shape[:2]
        found = peak(self.heat)
        if found is None:
            return None
        column, row = found
        return int((column + 0.5) * self.width / width), int((row + 0.5) * self.height / height)

    @property
    def box(self) -> Box:
        """What was looked at: left, top, right, bottom in pixels of the photo as it was given."""
        return self.preprocess.box(self.width, self.height)

    def overlay(self, side: int = SIDE) -> np.ndarray:
        """Return the photo coloured by heat, uint8 [h, w, 3], the longer side at most `side` pixels."""
        photo = self.small(side)
        height, width = photo.shape[:2]
        heat = heat_map(self.cells, self.preprocess, width, height)
        return heat_overlay(photo, heat, self.preprocess.box(width, height))

    def small(self, side: int = SIDE) -> np.ndarray:
        """Return the photo without heat, uint8 [h, w, 3], the longer side at most `side` pixels."""
        height, width = self.photo.shape[:2]
        scale = side / max(height, width)
        if scale >= 1:
            return self.photo
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return np.array(Image.fromarray(self.photo).resize(size, Image.Resampling.BILINEAR))

    def png(self, side: int = SIDE) -> bytes:
        """Return `overlay` as the bytes of a PNG file."""
        return encode_png(self.overlay(side))

    def _repr_html_(self) -> str:
        about = f"what speaks for {self.label}; answer: {self.prediction.label}"
        return notebook.panel(about, notebook.picture(self.png(_SHOWN), about, _SHOWN))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; pictures are not among them."""
        return {
            **self.prediction.to_dict(),
            "explained": self.label,
            "method": self.method,
            "peak": self.peak,
            "box": self.box,
            "size": (self.width, self.height),
            "cells": [[round(float(value), 4) for value in row] for row in self.cells],
        }
