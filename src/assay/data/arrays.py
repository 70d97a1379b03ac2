"""Data sets in array files: safe readers of .npz, .npy and tensors-only .pt, and the images.

Labels in them.
"""

import io
import os
import pickle
import struct
import tokenize
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from assay.core.errors import AssayError
from assay.core.table_cells import is_missing
from assay.core.text import is_unicode
from assay.data.class_folders import Listing
from assay.data.dataset import Sample

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


_IMAGE_FILES = ("x.npy", "images.npy")
_LABEL_FILES = ("y.npy", "labels.npy")
_CHUNK = 256


def list_array_file(path: Path) -> Listing:
    """List the images of one `.npz` or `.pt` with `images` [N,H,W,3], [N,3,H,W] or [N,H,W] and `labels` [N].

    Labels are numbers, or names in an `.npz`; an array or list `classes` names the numbers.

    Raises:
        AssayError: the file cannot be read, lacks an array, or their lengths differ.
    """
    arrays = load_arrays(path)
    labels = next((arrays[name] for name in arrays if name.casefold() in {"labels", "y"}), None)
    if labels is None:
        raise AssayError(f"{path} holds no array called 'labels'; save images and labels in one .npz")
    images = find_images_array({name: array for name, array in arrays.items() if array is not labels}, path)
    return _listing(path.absolute().parent, path, images, _label_names(labels, arrays, path))


def is_array_folder(folder: Path) -> bool:
    """Return whether a folder holds `X.npy` and `y.npy` (or `images.npy` and `labels.npy`), in any case."""
    if not os.access(folder, os.R_OK):
        return False
    names = {path.name.casefold() for path in folder.iterdir()}
    return bool(names.intersection(_IMAGE_FILES) and names.intersection(_LABEL_FILES))


def list_array_folder(folder: Path) -> Listing:
    """List the images of a folder for which `is_array_folder` holds.

    Raises:
        AssayError: a file cannot be read, or their lengths differ.
    """
    images, labels = _find_file(folder, _IMAGE_FILES), _find_file(folder, _LABEL_FILES)
    if images is None or labels is None:
        raise AssayError(f"{folder} lacks X.npy or y.npy")
    numbers = find_images_array(load_arrays(labels), labels)
    return _listing(folder, images, find_images_array(load_arrays(images), images), _label_names(numbers, {}, labels))


def mark_tensors(listing: Listing) -> Listing:
    """Mark the `.npy` and `.pt` files of class folders as tensors, all with one encoding.

    Files that cannot be opened have no say in it; verification lists them with the reason.

    Raises:
        AssayError: the tensors differ in type, or their numbers fit no known encoding.
    """
    tensors = [sample for sample in listing.samples if sample.path.suffix.casefold() in TENSOR_SUFFIXES]
    if not tensors:
        return listing
    types: set[np.dtype[np.generic]] = set()
    low, high = np.inf, -np.inf
    for sample in tensors:
        try:
            image = find_images_array(load_arrays(sample.path), sample.path)
        except AssayError:
            continue
        if image.size == 0:
            continue
        types.add(image.dtype)
        low, high = min(low, float(image.min())), max(high, float(image.max()))
    if len(types) > 1:
        raise AssayError(
            f"the tensors in {listing.root} have different types ({sorted(map(str, types))}); save all alike"
        )
    encoding: Encoding = detect_encoding(types.pop(), low, high, listing.root) if types else "uint8"
    marked = {sample.id for sample in tensors}
    listing.samples = [
        replace(sample, tensor=TensorRef(encoding)) if sample.id in marked else sample for sample in listing.samples
    ]
    return listing


def _find_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((path for path in sorted(folder.iterdir()) if path.name.casefold() in names), None)


def _label_names(labels: np.ndarray, arrays: Mapping[str, np.ndarray], path: Path) -> list[str]:
    if labels.ndim != 1:
        raise AssayError(f"{path} holds labels of shape {list(labels.shape)}; give one label an image")
    if labels.dtype.kind == "U":
        names = [str(label).strip() for label in labels]
        for place, name in enumerate(names):
            if is_missing(name) or not is_unicode(name):
                what = "is missing" if is_missing(name) else "is no Unicode text"
                raise AssayError(f"{path}: the label {name!r} of image {place} {what}; correct it or remove both")
        return names
    if labels.dtype.kind == "f" and not np.all(np.isfinite(labels)):
        place = int(np.argmin(np.isfinite(labels)))
        raise AssayError(f"{path}: the label of image {place} is missing ({labels[place]}); fill it in or remove both")
    if labels.dtype.kind == "f" and np.all(labels == np.rint(labels)):
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iub":
        raise AssayError(f"{path} holds labels of type {labels.dtype}; use whole numbers or names")
    classes = arrays.get("classes")
    if classes is None:
        return [str(int(label)) for label in labels]
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < len(classes)):
        raise AssayError(f"{path} has labels up to {labels.max()} but {len(classes)} classes")
    return [str(classes[int(label)]) for label in labels]


def _listing(root: Path, path: Path, images: np.ndarray, labels: list[str]) -> Listing:
    if images.ndim not in {3, 4} or len(images) == 0:
        raise AssayError(f"{path} holds an array of shape {list(images.shape)}, not images [N, H, W, 3]")
    if len(images) != len(labels):
        raise AssayError(f"{path} holds {len(images)} images for {len(labels)} labels; give one label an image")
    low, high = _value_range(images)
    encoding = detect_encoding(images.dtype, low, high, path)
    digits = len(str(len(images) - 1))
    samples = [
        # Zeros in front keep ids, which are sorted as text, in the order of the array.
        Sample(f"{path.name}#{index:0{digits}}", path, label, tensor=TensorRef(encoding, index))
        for index, label in enumerate(labels)
    ]
    return Listing(root, samples, labels=list(dict.fromkeys(labels)))


def _value_range(images: np.ndarray) -> tuple[float, float]:
    """Return the smallest and largest number, a few images at a time: the array may be larger than memory."""
    if images.dtype == np.uint8:
        return 0.0, 255.0
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    return min(float(chunk.min()) for chunk in chunks), max(float(chunk.max()) for chunk in chunks)
