"""Pictures and labels in IDX files, the format of MNIST and its kin, as class folders of PNG files.

Two zero bytes, one for the type (8: unsigned bytes), one for the number of dimensions, each dimension as
32 bits big-endian, then the values. Source: LeCun, the MNIST database (1998).
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from assay.errors import AssayError
from assay.progress import Progress

_MOST = 1 << 30


def read_idx(path: Path) -> np.ndarray:
    """Read one gzip-compressed IDX file of unsigned bytes.

    Returns:
        uint8 array with the dimensions that the file gives.

    Raises:
        AssayError: the file is damaged, in another format, or larger than 1 GiB.
    """
    try:
        with gzip.open(path) as stream:
            data = stream.read(_MOST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise AssayError(
            f"{path} is damaged or not compressed with gzip ({error}); download it again"
        ) from None
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) > _MOST:
        raise AssayError(f"{path} is no IDX file of unsigned bytes; download it again")
    header = 4 + 4 * data[3]
    shape = [int.from_bytes(data[at : at + 4]) for at in range(4, header, 4)]
    if len(data) < header or len(data) - header != math.prod(shape):
        raise AssayError(f"{path} has {len(data):,} bytes, which do not fit its header; download it again")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def write_idx(
    files: dict[str, tuple[Path, Path]], classes: tuple[str, ...], folder: Path, progress: Progress
) -> None:
    """Write `<split>/<class>/` folders of gray PNG files, named by their place in the publisher's file.

    Args:
        files: for every split the file of pictures and the file of labels.
        classes: folder names in the order of the labels.
        folder: an existing, empty folder.
        progress: told pictures written and in all.

    Raises:
        AssayError: a file cannot be read, or pictures and labels do not belong together.
    """
    parts = {split: (read_idx(pictures), read_idx(labels)) for split, (pictures, labels) in files.items()}
    done, total = 0, sum(len(labels) for _, labels in parts.values())
    for split, (pictures, labels) in parts.items():
        if pictures.ndim != 3 or labels.shape != pictures.shape[:1] or (labels >= len(classes)).any():
            raise AssayError(
                f"{files[split][0]} and {files[split][1]} do not belong together; download them again"
            )
        for name in classes:
            (folder / split / name).mkdir(parents=True)
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            Image.fromarray(picture).save(folder / split / classes[label] / f"{number:05}.png")
            done += 1
            progress("writing pictures", done, total)
