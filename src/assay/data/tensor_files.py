"""Read one image of a `.npy`, `.npz` or `.pt` file as a BMP; pickles are never loaded."""

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
from assay.core.text_layout import counted

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

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class TensorRef:
    """Which image of an array file, and how its values are encoded."""

    encoding: Encoding
    index: int | None = None
    """Row of a stacked array; None when the file holds one image."""


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Open a `.npy` (memory-mapped), `.npz` or torch file of tensors, without loading pickles.

    The only array of a file without names is returned as `images`. Raises `AssayError` if the file is damaged, holds
    anything but arrays, or is a pickle.
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
    """Return an image of shape [H,W], [H,W,1|3] or [1|3,H,W] as [H,W,3]; `AssayError` for any other shape."""
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim == 3 and image.shape[2] not in {1, 3} and image.shape[0] in {1, 3}:
        image = image.transpose(1, 2, 0)
    if image.ndim != 3 or image.shape[2] not in {1, 3} or 0 in image.shape:
        raise AssayError(f"{path} holds an array of shape {list(image.shape)}, not one image [H, W, 3]")
    return np.broadcast_to(image, (*image.shape[:2], 3))


def detect_encoding(dtype: np.dtype[Any], low: float, high: float, path: Path) -> Encoding:
    """Return the encoding of a data set from the type and range of its values.

    `low` is below 0 only for normalised images. Raises `AssayError` if the range fits none of the known encodings.
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
    """Return one image of an array file as a 24-bit BMP, identical on every machine.

    Raises `AssayError` if the file cannot be read or has no such image.
    """
    images = _cached_images(path, path.stat().st_mtime_ns) if ref.index is not None else _images(path)
    if ref.index is not None and not 0 <= ref.index < len(images):
        raise AssayError(f"{path} holds {counted(len(images), 'image')}, none with the index {ref.index}")
    image = channels_last(images if ref.index is None else images[ref.index], path)
    stream = io.BytesIO()
    Image.fromarray(_to_uint8(image, ref.encoding)).save(stream, format="BMP")
    return stream.getvalue()


def find_images_array(arrays: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """Return the array called `images` or `X`, or the only one; `AssayError` if several have other names."""
    for name, array in arrays.items():
        if name.casefold() in {"images", "x"} or len(arrays) == 1:
            return array
    raise AssayError(f"{path} holds no array called 'images' but {', '.join(sorted(arrays))}; rename it")


def _images(path: Path) -> np.ndarray:
    return find_images_array(load_arrays(path), path)


@lru_cache(maxsize=2)
def _cached_images(path: Path, modified: int) -> np.ndarray:
    # A stacked file is opened once for all of its images; `modified` invalidates the entry of a rewritten file.
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
