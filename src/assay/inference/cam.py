"""Class activation maps: evidence for a class per cell of the feature map, and heat maps in image space."""

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from assay.image import Preprocess
from assay.inference.engine import ModelOutputs

GAUSSIAN_SIGMA = 1.0
"""Standard deviation of the Gaussian that a cell's value is spread with, in cells."""

_HEAD = "head."
_LINEAR = {"head.fc.weight", "head.fc.bias"}


class EvidenceMap(Protocol):
    """Computes the evidence for a class in each cell of the feature map."""

    @property
    def method(self) -> str:
        """Name of the method, e.g. "cam"."""

    def __call__(self, pixels: np.ndarray, outputs: ModelOutputs, place: int) -> np.ndarray:
        """Return the evidence for a class, float32 [h, w], in units of logits.

        Args:
            pixels: uint8 [S, S, 3], a preprocessed image.
            outputs: outputs of the model for it, N = 1.
            place: index of the class in the logits.
        """


class Cam:
    """Evidence by class activation maps; `head` is the linear layer's weights, float [C, D]."""

    method = "cam"

    def __init__(self, head: np.ndarray) -> None:
        self._weights = contrast_weights(head)

    def __call__(self, pixels: np.ndarray, outputs: ModelOutputs, place: int) -> np.ndarray:
        """Map the evidence for a class; see `EvidenceMap`."""
        del pixels
        maps = class_activation_map(outputs.featuremap[0], self._weights[place : place + 1])
        return maps.reshape(maps.shape[1:])


def linear_head(weights: Mapping[str, np.ndarray], classes: int) -> np.ndarray | None:
    """Return the weights of a head that is one linear layer, float32 [C, D] if the bundle is consistent, or None.

    A head with more outputs than classes adds the probabilities of labels, and is not linear.
    """
    if {name for name in weights if name.startswith(_HEAD)} != _LINEAR:
        return None
    matrix = weights["head.fc.weight"]
    return np.array(matrix, dtype=np.float32) if matrix.ndim == 2 and len(matrix) <= classes else None


def class_activation_map(featuremap: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weight the channels of a feature map [K, h, w] like the head's weights [C, K] weight the pooled features.

    Returns float32 [C, h, w]. The mean of a class's map plus its bias is its logit, so the map is each cell's
    contribution to the logit. Raises `ValueError` if the shapes do not match.

    Source: Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning Deep Features for Discriminative
    Localization" (2016), eq. 2.
    """
    if featuremap.ndim != 3 or weights.ndim != 2 or weights.shape[1] != featuremap.shape[0]:
        raise ValueError(
            f"a head of shape {list(weights.shape)} does not match a feature map of shape {list(featuremap.shape)}"
        )
    cells: np.ndarray = np.tensordot(weights.astype(np.float32), featuremap.astype(np.float32), axes=1)
    return cells


def contrast_weights(weights: np.ndarray) -> np.ndarray:
    """Subtract the mean over the classes from weights [C, D].

    A term common to all logits does not change the probabilities. For two classes, one map becomes the negative of
    the other.
    """
    contrast: np.ndarray = weights - weights.mean(axis=0, keepdims=True)
    return contrast


def heat_map(cells: np.ndarray, preprocess: Preprocess, width: int, height: int) -> np.ndarray:
    """Map a class activation map to the pixels of the image that it was computed from.

    The receptive field of a cell is much larger than the cell, so all cells around a small cue respond to it about
    equally and the map has a plateau, on which bilinear upsampling can peak anywhere. Therefore each cell's value is
    spread with a Gaussian, so that the heat map peaks in the middle of the plateau. Outside the image the evidence is
    0, or the minimum over the cells if all are positive, so that a constant map stays constant.

    Cells are assumed to be evenly spaced. Networks whose strided convolutions pad one side only can be off by up to
    half a cell.

    Args:
        cells: float array of shape [h, w], in units of logits.
        preprocess: preprocessing of the classifier.
        width: width of the upright image, in pixels.
        height: height of the upright image, in pixels.

    Returns:
        float32 [height, width], 0-1, relative to the maximum. Evidence against the class and pixels outside the
        crop box are 0; all 0 if there is no evidence.

    Source: Liznerski et al., "Explainable Deep One-Class Classification" (2021), section 3, for Gaussians in
        place of interpolation; Luo, Li, Urtasun, Zemel, "Understanding the Effective Receptive Field in Deep
        Convolutional Neural Networks" (2016), for their shape.
    """
    left, top, right, bottom = preprocess.box(width, height)
    into_left, into_top, into_right, into_bottom = preprocess.content(width, height)
    rows, columns = cells.shape
    down = _gaussian_weights(bottom - top, (into_top, into_bottom), preprocess.size, rows)
    across = _gaussian_weights(right - left, (into_left, into_right), preprocess.size, columns)
    floor = max(float(cells.min()), 0.0)
    evidence = floor + down @ (cells.astype(np.float32) - floor) @ across.T
    heat = np.zeros((height, width), dtype=np.float32)
    strongest = float(evidence.max())
    if strongest > 0:
        heat[top:bottom, left:right] = (evidence / strongest).clip(0, 1)
    return heat


def peak_position(heat: np.ndarray) -> tuple[int, int] | None:
    """Return column and row of the maximum of a heat map [H, W]; None if all values are 0."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return (int(column), int(row)) if heat[row, column] > 0 else None


def _gaussian_weights(pixels: int, span: tuple[int, int], size: int, cells: int) -> np.ndarray:
    """Return the weight of every cell for every pixel along one side of the crop box, float32 [pixels, cells].

    `span` is start and end of the side in the network's input of `size` pixels. Rows sum to less than 1 near the
    border of the input.
    """
    inside = span[0] + (np.arange(pixels) + 0.5) * (span[1] - span[0]) / pixels
    distance = inside[:, np.newaxis] * cells / size - (np.arange(cells) + 0.5)
    density = np.exp(-0.5 * (distance / GAUSSIAN_SIGMA) ** 2) / (GAUSSIAN_SIGMA * math.sqrt(2 * math.pi))
    return density.astype(np.float32)
