"""Data sets in array files: `.npz` or `.pt`, `X.npy` beside `y.npy`, or class folders of tensors."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from assay.core.errors import AssayError
from assay.core.image_table_columns import is_missing
from assay.core.printable_text import is_unicode
from assay.core.text_layout import counted
from assay.data.class_folders import Listing
from assay.data.dataset import Sample
from assay.data.tensor_files import (
    TENSOR_SUFFIXES,
    Encoding,
    TensorRef,
    detect_encoding,
    find_images_array,
    load_arrays,
)

_IMAGE_FILES = ("x.npy", "images.npy")
_LABEL_FILES = ("y.npy", "labels.npy")
_CHUNK = 256


def list_array_file(path: Path) -> Listing:
    """List the images of one `.npz` or `.pt` with `images` [N,H,W,3], [N,3,H,W] or [N,H,W] and `labels` [N].

    Labels are numbers, or names in an `.npz`; an array or list `classes` names the numbers. Raises `AssayError` if
    the file cannot be read, lacks an array, or the lengths differ.
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
    """List the images of a folder for which `is_array_folder` holds; `AssayError` if unreadable or lengths differ."""
    images, labels = _find_file(folder, _IMAGE_FILES), _find_file(folder, _LABEL_FILES)
    if images is None or labels is None:
        raise AssayError(f"{folder} lacks X.npy or y.npy")
    numbers = find_images_array(load_arrays(labels), labels)
    return _listing(folder, images, find_images_array(load_arrays(images), images), _label_names(numbers, {}, labels))


def mark_tensors(listing: Listing) -> Listing:
    """Mark the `.npy` and `.pt` files of class folders as tensors, all with one encoding.

    Files that cannot be opened are ignored here; verification reports them. Raises `AssayError` if the tensors
    differ in type or their range fits no known encoding.
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
        raise AssayError(f"{path} has labels up to {labels.max()} but {counted(len(classes), 'class')}")
    return [str(classes[int(label)]) for label in labels]


def _listing(root: Path, path: Path, images: np.ndarray, labels: list[str]) -> Listing:
    if images.ndim not in {3, 4} or len(images) == 0:
        raise AssayError(f"{path} holds an array of shape {list(images.shape)}, not images [N, H, W, 3]")
    if len(images) != len(labels):
        raise AssayError(
            f"{path} holds {counted(len(images), 'image')} for {counted(len(labels), 'label')}; give one label an image"
        )
    low, high = _value_range(images)
    encoding = detect_encoding(images.dtype, low, high, path)
    digits = len(str(len(images) - 1))
    samples = [
        # Leading zeros keep ids, which are sorted as text, in array order.
        Sample(f"{path.name}#{index:0{digits}}", path, label, tensor=TensorRef(encoding, index))
        for index, label in enumerate(labels)
    ]
    return Listing(root, samples, labels=list(dict.fromkeys(labels)))


def _value_range(images: np.ndarray) -> tuple[float, float]:
    """Return the smallest and largest value, a few images at a time because the array may exceed memory."""
    if images.dtype == np.uint8:
        return 0.0, 255.0
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    return min(float(chunk.min()) for chunk in chunks), max(float(chunk.max()) for chunk in chunks)
