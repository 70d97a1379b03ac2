"""CIFAR-10's binary version as class folders of PNG files.

A record is one byte of label and 3,072 bytes of pixels: 32 x 32, all red, then all green, then all blue.
Source: the data set's home page, https://www.cs.toronto.edu/~kriz/cifar.html (2009).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from assay.errors import AssayError
from assay.progress import Progress
from assay.safe_csv import SafeWriter

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Class names in the order of the labels 0-9."""
VEHICLES = frozenset({"airplane", "automobile", "ship", "truck"})
"""The classes that make up `vehicle`; the other six make up `animal`."""
_SIDE = 32
_RECORD = 1 + 3 * _SIDE * _SIDE


def write_cifar10(source: Path, folder: Path, progress: Progress) -> None:
    """Write `train/<class>/` and `test/<class>/`, and the two-class manifest `vehicle-animal.csv`.

    The PNG files hold exactly the publisher's pixels; their numbers are the places in the publisher's files.

    Args:
        source: folder with `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, at any depth.
        folder: an existing, empty folder.
        progress: told pictures written and in all.

    Raises:
        AssayError: a file is missing or is not in this format.
    """
    parts = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
    batches = {split: [_records(_find(source, name)) for name in names] for split, names in parts.items()}
    total = sum(len(records) for files in batches.values() for records in files)
    rows = []
    for split, files in batches.items():
        for label in CLASSES:
            (folder / split / label).mkdir(parents=True)
        for number, (label, pixels) in enumerate(_pictures(files)):
            path = f"{split}/{label}/{number:05}.png"
            Image.fromarray(pixels).save(folder / path)
            rows.append((path, "vehicle" if label in VEHICLES else "animal", split, label))
            progress("writing pictures", len(rows), total)
    with (folder / "vehicle-animal.csv").open("w", encoding="utf-8", newline="") as stream:
        table = SafeWriter(stream, exact=True)
        table.writerow(("path", "label", "split", "source_label"))
        table.writerows(rows)


def _find(source: Path, name: str) -> Path:
    found = sorted(source.rglob(name))
    if not found:
        raise AssayError(f"{name} is missing among CIFAR-10's files; download them again")
    return found[0]


def _records(path: Path) -> np.ndarray:
    data = np.fromfile(path, dtype=np.uint8)
    if not len(data) or len(data) % _RECORD or data[::_RECORD].max() >= len(CLASSES):
        raise AssayError(f"{path.name} is not in CIFAR-10's binary format; download it again")
    return data.reshape(-1, _RECORD)


def _pictures(files: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    for records in files:
        for record in records:
            yield CLASSES[record[0]], record[1:].reshape(3, _SIDE, _SIDE).transpose(1, 2, 0)
