"""Locate the data sets of the experiments: an archive, an installed package, or a folder from `assay fetch`."""

import os
import random
import tarfile
from pathlib import Path

from assay.core.errors import AssayError, UsageError
from assay.core.progress import no_progress
from assay.data import Dataset, load_dataset, write_manifest
from assay.data.fetch.archive import atomic_folder
from assay.data.fetch.converters import prepare_elpv
from assay.data.fetch.fetcher import fetch_dataset
from assay.data.fetch.registry import REGISTRY

ARCHIVES = {
    "bottles": "bottles.tar",
    "button-cells": "button_cells.tar",
    "cifar10": "cifar10.tar.xz",
    "magnetic-tiles": "magnetic_tiles.tar",
}
"""Files in the folder `ASSAY_DATA`; each holds one folder with the data set."""
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` installs the publisher's files."""


def archive_folder() -> Path:
    """Return the folder of the archives: `ASSAY_DATA`, as for the tests."""
    return Path(os.environ.get("ASSAY_DATA", "../shared/data"))


def locate(name: str, runs: Path, given: Path | None = None) -> Path:
    """Return class folders or a manifest of a data set; its archive is unpacked into `runs/data` once.

    Args:
        name: of the data set, as for `assay fetch`.
        runs: folder for large files.
        given: a folder or manifest to use instead, for example from `assay fetch`.

    Raises:
        UsageError: `given` does not exist, or the name is unknown.
        AssayError: the data set is not on this machine.
    """
    if given is not None:
        if not given.exists():
            raise UsageError(f"there is no file or folder {given}")
        return given
    folder = runs / "data" / name
    if name == "elpv":
        return prepare_elpv(folder)
    if name == "fashion-mnist":
        if not FASHION_MNIST.is_dir() and not folder.is_dir():
            raise AssayError("Fashion-MNIST is not installed; on Debian: apt install dataset-fashion-mnist")
        return fetch_dataset(REGISTRY[name], folder, downloads=FASHION_MNIST, progress=no_progress).folder
    if name not in ARCHIVES:
        raise UsageError(f"no data set is called {name!r}: give one of elpv, fashion-mnist, {', '.join(ARCHIVES)}")
    if not folder.is_dir():
        _unpack(archive_folder() / ARCHIVES[name], folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    if not archive.is_file():
        raise AssayError(f"{archive} is missing: set ASSAY_DATA, or fetch the data set and give its folder as --data")
    with atomic_folder(folder) as temporary:
        with tarfile.open(archive) as packed:
            packed.extractall(temporary, filter="data")
        (inside,) = temporary.iterdir()
        for path in inside.iterdir():
            path.rename(temporary / path.name)
        inside.rmdir()


def write_subset(data: Path, train: int, test: int, seed: int, manifest: Path) -> Path:
    """Write a manifest of some training and test images, equally many per class.

    Args:
        data: a data set with train/ and test/.
        train: number of training images, a multiple of the number of classes.
        test: number of test images, likewise.
        seed: of the random choice.
        manifest: the file to write; if it exists, it is unchanged.

    Raises:
        AssayError: a class has too few images.
    """
    if manifest.is_file():
        return manifest
    dataset = load_dataset(data)
    chosen = []
    for split, count in (("train", train), ("test", test)):
        per_class, rest = divmod(count, len(dataset.classes))
        if rest:
            raise AssayError(f"{count} images cannot be divided equally among {len(dataset.classes)} classes")
        for label in dataset.classes:
            found = [sample for sample in dataset.samples if sample.split == split and sample.label == label]
            if len(found) < per_class:
                raise AssayError(f"{data} has {len(found)} {split} images of {label}, fewer than {per_class}")
            chooser = random.Random(f"{seed} {split} {label}")  # noqa: S311 - reproducible, not secret
            chosen += chooser.sample(found, per_class)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    subset: Dataset = dataset.with_samples(tuple(sorted(chosen, key=lambda sample: sample.id)))
    write_manifest(subset, manifest)
    return manifest
