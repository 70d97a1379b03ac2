"""Convert published formats (CIFAR-10 binary, IDX, ELPV, RAR archives) to class folders."""

import gzip
import importlib.util
import math
import os
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from assay.core.errors import AssayError
from assay.core.progress import Progress
from assay.core.tables import SafeCsvWriter
from assay.data.fetch.archive import atomic_folder

_RAR_PROGRAMS: tuple[tuple[str, ...], ...] = (
    ("bsdtar", "-x", "-f", "{archive}", "-C", "{folder}"),
    ("7z", "x", "-bd", "-y", "-o{folder}", "{archive}"),
    ("7zz", "x", "-bd", "-y", "-o{folder}", "{archive}"),
    ("unar", "-quiet", "-output-directory", "{folder}", "{archive}"),
    ("unrar", "x", "-idq", "-y", "{archive}", "{folder}/"),
)
"""Programs that unpack RAR, with arguments, in order of preference."""


def extract_rar(archive: Path, folder: Path) -> None:
    """Unpack a RAR archive of known content into an empty folder.

    Raises:
        AssayError: no program for it is installed, or the program failed.
    """
    for program, *arguments in _RAR_PROGRAMS:
        found = shutil.which(program)
        if found is None:
            continue
        command = [part.format(archive=archive.resolve(), folder=folder.resolve()) for part in arguments]
        ended = subprocess.run([found, *command], capture_output=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
        if ended.returncode or not any(folder.iterdir()):
            said = " ".join(ended.stderr.decode(errors="replace").split())[-200:]
            raise AssayError(f"{archive} could not be unpacked by {found}: {said or 'nothing came out'}")
        _refuse_links(archive, folder)
        return
    names = ", ".join(program for program, *_ in _RAR_PROGRAMS)
    raise AssayError(
        f"{archive} is a RAR archive, which needs one of the programs {names}: install one "
        "(on Debian: apt install libarchive-tools) and run the same command again; the download is kept"
    )


def _refuse_links(archive: Path, folder: Path) -> None:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise AssayError(f"{archive} holds {name!r}, which is no plain file, and was not unpacked")


_MAX_IDX_BYTES = 1 << 30


def read_idx(path: Path) -> np.ndarray:
    """Read a gzip-compressed IDX file of unsigned bytes; returns uint8 of the shape in the file.

    Raises:
        AssayError: the file is damaged, in another format, or larger than 1 GiB.
    """
    try:
        with gzip.open(path) as stream:
            data = stream.read(_MAX_IDX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise AssayError(f"{path} is damaged or not compressed with gzip ({error}); download it again") from None
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) > _MAX_IDX_BYTES:
        raise AssayError(f"{path} is no IDX file of unsigned bytes; download it again")
    header = 4 + 4 * data[3]
    shape = [int.from_bytes(data[at : at + 4]) for at in range(4, header, 4)]
    if len(data) < header or len(data) - header != math.prod(shape):
        raise AssayError(f"{path} has {len(data):,} bytes, which do not fit its header; download it again")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def write_idx(files: dict[str, tuple[Path, Path]], classes: tuple[str, ...], folder: Path, progress: Progress) -> None:
    """Write `<split>/<class>/` folders of gray PNG files, named by their index in the publisher's file.

    `files` maps every split to its files of images and of labels; `classes` are folder names in label order. Raises
    `AssayError` if a file cannot be read, or images and labels do not match.
    """
    parts = {split: (read_idx(pictures), read_idx(labels)) for split, (pictures, labels) in files.items()}
    done, total = 0, sum(len(labels) for _, labels in parts.values())
    for split, (pictures, labels) in parts.items():
        if pictures.ndim != 3 or labels.shape != pictures.shape[:1] or (labels >= len(classes)).any():
            raise AssayError(f"{files[split][0]} and {files[split][1]} do not belong together; download them again")
        for name in classes:
            (folder / split / name).mkdir(parents=True)
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            Image.fromarray(picture).save(folder / split / classes[label] / f"{number:05}.png")
            done += 1
            progress("writing pictures", done, total)


CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Class names in label order."""
CIFAR10_VEHICLES = frozenset({"airplane", "automobile", "ship", "truck"})
"""Classes merged to `vehicle`; the other six are merged to `animal`."""
_CIFAR10_SIDE = 32
_CIFAR10_RECORD_BYTES = 1 + 3 * _CIFAR10_SIDE * _CIFAR10_SIDE


def write_cifar10(source: Path, folder: Path, progress: Progress) -> None:
    """Write `train/<class>/` and `test/<class>/`, and the two-class manifest `vehicle-animal.csv`.

    `source` contains `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin` at any depth. The PNG files are
    lossless and numbered by index in the publisher's files. Raises `AssayError` if a file is missing or invalid.
    """
    parts = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
    batches = {split: [_read_records(_find_batch(source, name)) for name in names] for split, names in parts.items()}
    total = sum(len(records) for files in batches.values() for records in files)
    rows = []
    for split, files in batches.items():
        for label in CIFAR10_CLASSES:
            (folder / split / label).mkdir(parents=True)
        for number, (label, pixels) in enumerate(_iter_images(files)):
            path = f"{split}/{label}/{number:05}.png"
            Image.fromarray(pixels).save(folder / path)
            rows.append((path, "vehicle" if label in CIFAR10_VEHICLES else "animal", split, label))
            progress("writing pictures", len(rows), total)
    with (folder / "vehicle-animal.csv").open("w", encoding="utf-8", newline="") as stream:
        table = SafeCsvWriter(stream, exact=True)
        table.writerow(("path", "label", "split", "source_label"))
        table.writerows(rows)


def _find_batch(source: Path, name: str) -> Path:
    found = sorted(source.rglob(name))
    if not found:
        raise AssayError(f"{name} is missing among CIFAR-10's files; download them again")
    return found[0]


def _read_records(path: Path) -> np.ndarray:
    data = np.fromfile(path, dtype=np.uint8)
    if (
        not len(data)
        or len(data) % _CIFAR10_RECORD_BYTES
        or data[::_CIFAR10_RECORD_BYTES].max() >= len(CIFAR10_CLASSES)
    ):
        raise AssayError(f"{path.name} is not in CIFAR-10's binary format; download it again")
    return data.reshape(-1, _CIFAR10_RECORD_BYTES)


def _iter_images(files: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    for records in files:
        for record in records:
            yield CIFAR10_CLASSES[record[0]], record[1:].reshape(3, _CIFAR10_SIDE, _CIFAR10_SIDE).transpose(1, 2, 0)


ELPV_CLASSES = ("functional", "defective")
"""A cell is defective from a defect probability of 0.5."""


def prepare_elpv(to: Path) -> Path:
    """Write the cells of the installed package `elpv-dataset` into the new folder `to`; return the manifest.

    The folder gets `functional/`, `defective/` and `manifest.csv` with path, label and source_label, the cell type
    (`mono` or `poly`). If this function has filled it before, it is unchanged. Raises `AssayError` if the package is
    not installed or `to` has other content.
    """
    manifest = to / "manifest.csv"
    if not (manifest.is_file() and all((to / label).is_dir() for label in ELPV_CLASSES)):
        source = find_installed_elpv()
        if source is None:
            raise AssayError("the solar cells are not installed; install them with: pip install elpv-dataset")
        with atomic_folder(to) as folder:
            write_elpv(source, folder)
    return manifest


def find_installed_elpv() -> Path | None:
    """Return the data folder of the installed package, or None."""
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "data"
    return folder if (folder / "labels.csv").is_file() else None


def write_elpv(source: Path, folder: Path) -> None:
    """Copy the cells from the publisher's layout (`labels.csv` and `images/`) into class folders.

    Lines of `labels.csv` are path, probability and cell type, separated by spaces. Raises `AssayError` if it cannot
    be read or lists a missing image.
    """
    rows = _read_elpv_labels(source / "labels.csv")
    for label in ELPV_CLASSES:
        (folder / label).mkdir()
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
        table = SafeCsvWriter(stream, exact=True)
        table.writerow(("path", "label", "source_label"))
        for path, probability, kind in rows:
            label = ELPV_CLASSES[probability >= 0.5]
            copy = f"{label}/{Path(path).name}"
            try:
                shutil.copyfile(source / path, folder / copy)
            except OSError as error:
                raise AssayError(f"{source / path} cannot be copied: {error.strerror}") from None
            table.writerow((copy, label, kind))


def _read_elpv_labels(path: Path) -> list[tuple[str, float, str]]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        rows = [(name, float(probability), kind) for name, probability, kind in map(str.split, lines)]
    except (OSError, ValueError) as error:
        raise AssayError(f"{path} cannot be read as the list of solar cells: {error}") from None
    if len({Path(name).name for name, _, _ in rows}) != len(rows):
        raise AssayError(f"{path} names a picture twice")
    return rows
