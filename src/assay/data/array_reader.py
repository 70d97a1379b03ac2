"""Read one image of a `.npy`, `.npz` or `.pt` file as a BMP, without ever opening a pickle."""

import io
import pickle
import struct
import tokenize
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from assay.core.errors import AssayError

TENSOR_SUFFIXES = frozenset({".npy", ".npz", ".pt", ".pth"})
PICKLE_SUFFIXES = frozenset({".pkl", ".pickle", ".joblib"})

Encoding = Literal["uint8", "unit", "byte", "imagenet"]
"""What the numbers mean: uint8 0-255; 0-1; 0-255; or normalised by ImageNet's mean and std."""

# torch's first format: the magic number, pickled, before anything else is.
_TORCH_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_READ_ERRORS = (
    ArithmeticError, AttributeError, BadZipFile, EOFError, LookupError, MemoryError, RuntimeError,
    SyntaxError, TypeError, ValueError, pickle.UnpicklingError, struct.error, tokenize.TokenError, zlib.error,
)  # fmt: skip
"""What the readers raise for bytes that are not what they expect."""

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class TensorRef:
    """Which image of an array file, and what its numbers mean."""

    encoding: Encoding
    index: int | None = None
    """Row of a stacked array; None when the file holds one image."""


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Open an array file without ever running a pickle.

    Args:
        path: `.npy` (mapped, not read), `.npz`, or a torch file of tensors.

    Returns:
        The arrays by name; the only array of a nameless file is called `images`.

    Raises:
        AssayError: the file is damaged, holds anything but arrays, or is a pickle.
    """
    suffix = path.suffix.casefold()
    try:
        if suffix == ".npy":
            return {"images": np.lib.format.open_memmap(path, mode="r")}
        if suffix == ".npz":
            with path.open("rb") as stream, np.lib.npyio.NpzFile(stream) as archive:
                return {name: archive[name] for name in archive.files}
        return _load_torch(path)
    except OSError as error:
        raise AssayError(f"{path} cannot be read: {error.strerror or error}") from None
    except _READ_ERRORS:
        raise AssayError(
            f"{path} holds something other than plain arrays, or is damaged; "
            "Assay opens no pickles: save tensors alone with torch.save, numpy.save or numpy.savez"
        ) from None


def _load_torch(path: Path) -> dict[str, np.ndarray]:
    import torch  # noqa: PLC0415 - a data set of photos must not need torch

    with path.open("rb") as stream:
        if not stream.read(len(_TORCH_LEGACY_MAGIC)).startswith((b"PK\x03\x04", _TORCH_LEGACY_MAGIC)):
            raise ValueError("no torch file")
    loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    named = loaded if isinstance(loaded, Mapping) else {"images": loaded}
    return {
        str(name): value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        for name, value in named.items()
    }


def channels_last(image: np.ndarray, path: Path) -> np.ndarray:
    """Return one image of shape [H,W], [H,W,1|3] or [1|3,H,W] as [H,W,3].

    Raises:
        AssayError: the shape is none of these.
    """
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim == 3 and image.shape[2] not in {1, 3} and image.shape[0] in {1, 3}:
        image = image.transpose(1, 2, 0)
    if image.ndim != 3 or image.shape[2] not in {1, 3} or 0 in image.shape:
        raise AssayError(f"{path} holds an array of shape {list(image.shape)}, not one image [H, W, 3]")
    return np.broadcast_to(image, (*image.shape[:2], 3))


def detect_encoding(dtype: np.dtype[Any], low: float, high: float, path: Path) -> Encoding:
    """Judge what the numbers of a whole data set mean, from their type and range.

    Args:
        dtype: of the arrays.
        low: smallest number of all images; below 0 only after normalisation.
        high: largest number of all images.
        path: for the error.

    Raises:
        AssayError: the range fits none of the known encodings.
    """
    if dtype == np.uint8:
        return "uint8"
    if dtype.kind == "f" and low >= 0 and high <= 1:
        return "unit"
    if dtype.kind in "iuf" and low >= 0 and high <= 255:
        return "byte"
    # The extremes of black and white under ImageNet's mean and std are -2.12 and 2.64.
    if dtype.kind == "f" and low >= -2.2 and high <= 2.7:
        return "imagenet"
    raise AssayError(
        f"{path} holds {dtype} numbers from {low:g} to {high:g}; "
        "use 0-255, 0-1, or floats normalised by ImageNet's mean and std"
    )


def read_as_bmp(path: Path, ref: TensorRef) -> bytes:
    """Return one image of an array file as the bytes of a 24-bit BMP, the same on every machine.

    Raises:
        AssayError: the file cannot be read or holds no such image.
    """
    images = _cached_images(path, path.stat().st_mtime_ns) if ref.index is not None else _images(path)
    if ref.index is not None and not 0 <= ref.index < len(images):
        raise AssayError(f"{path} holds {len(images)} images, none with the index {ref.index}")
    image = channels_last(images if ref.index is None else images[ref.index], path)
    stream = io.BytesIO()
    Image.fromarray(_to_uint8(image, ref.encoding)).save(stream, format="BMP")
    return stream.getvalue()


def find_images_array(arrays: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """Return the array of images among the arrays of a file: `images`, `X` or the only one.

    Raises:
        AssayError: several arrays, none of them with such a name.
    """
    for name, array in arrays.items():
        if name.casefold() in {"images", "x"} or len(arrays) == 1:
            return array
    raise AssayError(f"{path} holds no array called 'images' but {', '.join(sorted(arrays))}; rename it")


def _images(path: Path) -> np.ndarray:
    return find_images_array(load_arrays(path), path)


@lru_cache(maxsize=2)
def _cached_images(path: Path, modified: int) -> np.ndarray:
    # A stacked file is opened once for all of its images; `modified` makes a rewritten file a new one.
    del modified
    return _images(path)


def _to_uint8(image: np.ndarray, encoding: Encoding) -> np.ndarray:
    if encoding == "uint8":
        return np.ascontiguousarray(image)
    values = image.astype(np.float32)
    if encoding == "imagenet":
        values = values * _STD + _MEAN
    if encoding != "byte":
        values = values * 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
