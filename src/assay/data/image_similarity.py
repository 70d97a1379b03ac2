"""Similarity of two images after registering one on the other (shift, scale, gain and bias)."""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

Array = np.ndarray

THUMBNAIL_SIDE: Final = 64
"""Side of the square gray thumbnails on which large images are compared, in pixels."""
SMALL_THUMBNAIL_SIDE: Final = 32
"""The same for images whose shorter side is below `THUMBNAIL_SIDE`."""

_BORDER_SHARE: Final = 5 / 64
"""Border excluded from comparisons, as a share of the side: a crop of up to 5 % may have removed it."""
_MAX_DISPLACEMENT: Final = 0.12
"""Largest shift, in half sides, and largest change of scale in registration."""
_NOISE_FLOOR: Final = 0.05
"""Residual power, relative to the image's variance, that is ignored everywhere."""
_EARLY_REJECT: Final = -0.3
"""Similarity on the small thumbnails below which the large ones are not compared."""


class Pose(NamedTuple):
    """Pixel u of the first image is at scale * u + shift in the second; u is -1 to 1 along each side.

    All are float32 of shape [n]: scales `sx` and `sy`, shifts `tx` and `ty` in half sides.
    """

    sx: Array
    tx: Array
    sy: Array
    ty: Array


def similarity(first: Array, second: Array) -> Array:
    """Register each image of `second` on its partner in `first` and return their similarity.

    The residual at every pixel is divided by the local gradient, because a slight misalignment leaves a large
    residual at edges. Two different solar cells correlate at 0.998 because of their busbars; in the flat areas
    between them a copy still matches and another cell does not.

    Args:
        first: gray values 0-255 of shape [n, T, T], T = `THUMBNAIL_SIDE` or `SMALL_THUMBNAIL_SIDE`.
        second: the same shape.

    Returns:
        float32 of shape [n]: minus the logarithm of the mean weighted residual. Copies are above about 3
        (2 on small thumbnails), different images around 0 and below.

    Source: inverse compositional registration after Baker and Matthews, "Lucas-Kanade 20 Years On", 2004,
        with scales, shifts, gain and bias; the weighting is our own and measured in `benchmarks/duplicates.py`.
    """
    a, b = first.astype(np.float32), second.astype(np.float32)
    if a.shape[1] <= SMALL_THUMBNAIL_SIDE:
        pose = _refine(_refine(_identity_pose(len(a)), a, b, 1.5, 4), a, b, 0.7, 3)
        return _score(a, b, pose)
    small_a, small_b = halve(a), halve(b)
    pose = _refine(_identity_pose(len(a)), small_a, small_b, 1.5, 4)
    result = _score(small_a, small_b, pose)
    hopeful = np.flatnonzero(result > _EARLY_REJECT)
    result = np.asarray(np.minimum(result, 0))
    if len(hopeful):
        a, b, pose = a[hopeful], b[hopeful], Pose(*(part[hopeful] for part in pose))
        result[hopeful] = _score(a, b, _refine(_refine(pose, a, b, 1.5, 2), a, b, 0.8, 2))
    return result


def halve(images: Array) -> Array:
    """Return gray images of shape [n, T, T] at half size, as float32."""
    n, side = images.shape[:2]
    squares = images.astype(np.float32).reshape(n, side // 2, 2, side // 2, 2)
    return np.asarray(squares.mean((2, 4)))


@lru_cache(maxsize=32)
def blur_matrix(side: int, sigma: float) -> Array:
    """Return float32 [side, side] that blurs columns with a Gaussian of `sigma` pixels, renormalised at the edges."""
    place = np.arange(side)
    kernel: Array = np.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    kernel /= kernel.sum(1, keepdims=True)
    return kernel.astype(np.float32)


def _identity_pose(n: int) -> Pose:
    ones, zeros = np.ones(n, np.float32), np.zeros(n, np.float32)
    return Pose(ones, zeros, ones, zeros)


def _pixel_axis(side: int) -> Array:
    return ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1).astype(np.float32)


def _sampling_matrix(side: int, scale: Array, shift: Array) -> Array:
    """Return matrices [n, side, side] that sample lines at the transformed positions: linear, edges repeated."""
    places = scale[:, None] * _pixel_axis(side) + shift[:, None]
    places = np.clip((places + 1) * (side / 2) - 0.5, 0, side - 1)
    distance = np.abs(places[:, :, None] - np.arange(side, dtype=np.float32))
    return np.asarray(np.maximum(0, 1 - distance), np.float32)


def _warp(images: Array, pose: Pose) -> Array:
    side = images.shape[1]
    rows, columns = _sampling_matrix(side, pose.sy, pose.ty), _sampling_matrix(side, pose.sx, pose.tx)
    return np.asarray(rows @ images @ columns.transpose(0, 2, 1))


def _blur(images: Array, sigma: float) -> Array:
    kernel = blur_matrix(images.shape[1], sigma)
    return np.asarray(kernel @ images @ kernel.T)


def _crop_border(images: Array) -> Array:
    rim = round(images.shape[1] * _BORDER_SHARE)
    return images[:, rim:-rim, rim:-rim]


def _refine(pose: Pose, first: Array, second: Array, sigma: float, steps: int) -> Pose:
    """Do Gauss-Newton steps on images blurred by `sigma` pixels."""
    n, side = first.shape[:2]
    a, b = _blur(first, sigma), _blur(second, sigma)
    down, along = np.gradient(a, 2 / side, axis=(1, 2))
    u = _pixel_axis(side)
    parts = (a, np.ones_like(a), along * u, along, down * u[:, None], down)
    jacobian = np.stack([_crop_border(part).reshape(n, -1) for part in parts], axis=1).astype(np.float32)
    normal = (jacobian @ jacobian.transpose(0, 2, 1)).astype(np.float64)
    diagonal = np.einsum("nii->ni", normal)
    diagonal += 1e-5 * diagonal + 1e-2
    solve = np.linalg.inv(normal)
    for _ in range(steps):
        seen = _crop_border(_warp(b, pose)).reshape(n, -1, 1)
        answer = (solve @ (jacobian @ seen))[..., 0]
        pose = _compose_step(pose, answer)
    return pose


def _compose_step(pose: Pose, answer: Array) -> Pose:
    """Compose the pose with the inverse of the step for the first image."""
    gain = np.where(np.abs(answer[:, :1]) < 0.05, 0.05, answer[:, :1])
    wider, right, taller, lower = np.clip(answer[:, 2:] / gain, -0.05, 0.05).astype(np.float32).T
    sx, sy = pose.sx / (1 + wider), pose.sy / (1 + taller)
    low, high = np.float32(1 - _MAX_DISPLACEMENT), np.float32(1 + _MAX_DISPLACEMENT)
    return Pose(
        sx.clip(low, high),
        (pose.tx - sx * right).clip(-_MAX_DISPLACEMENT, _MAX_DISPLACEMENT),
        sy.clip(low, high),
        (pose.ty - sy * lower).clip(-_MAX_DISPLACEMENT, _MAX_DISPLACEMENT),
    )


def _score(first: Array, second: Array, pose: Pose) -> Array:
    a = _standardize(_crop_border(_blur(first, 2.0)))
    b = _standardize(_crop_border(_warp(_blur(second, 2.0), pose)))
    down, along = np.gradient(a, axis=(1, 2))
    weighed = (a - b) ** 2 / (_NOISE_FLOOR + down**2 + along**2)
    return np.asarray(-np.log(weighed.mean((1, 2)) + 1e-5), np.float32)


def _standardize(images: Array) -> Array:
    """Return images with mean 0 and standard deviation 1; near-constant ones stay near 0."""
    centred = images - images.mean((1, 2), keepdims=True)
    return np.asarray(centred / (centred.std((1, 2), keepdims=True) + 0.3))
