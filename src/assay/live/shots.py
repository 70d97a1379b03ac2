"""Photos on the disk: a folder for each class, names that tell when, nothing ever written over.

Knows nothing of cameras and of what the classes mean.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from assay.errors import UsageError
from assay.files import replacing

_QUALITY = 95
_UNFIT = set('/\\:*?"<>|\0')


class Shots:
    """Class folders that grow.

    Names hold what keeps shots of one moment in one part when the data is split: the time in milliseconds, or
    the film and the number of the frame.

    Attributes:
        counts: files in each class folder, those from before included, in the order of the classes.
    """

    def __init__(self, folder: Path, classes: Sequence[str], now: Callable[[], float] = time.time) -> None:
        """Look at what is there; nothing is written yet.

        Args:
            folder: of the class folders.
            classes: their names.
            now: seconds since 1970.

        Raises:
            UsageError: a name can be no folder's, or comes twice.
        """
        for name in classes:
            if not name.strip() or name.startswith(".") or _UNFIT & set(name):
                raise UsageError(f"--class {name!r} can be no folder's name: leave out {' '.join('/:*?<>|')}")
        if len({name.casefold() for name in classes}) < len(classes):
            raise UsageError("two classes have the same name: give each once")
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--to {folder} is a file: give a folder")
        self._folder, self._now = folder, now
        self.counts = {name: _files(folder / name) for name in classes}

    def take(self, label: str, pixels: np.ndarray, film: str | None = None, number: int = 0) -> Path:
        """Write a photo, whole or not at all, as JPEG of high quality without colour subsampling.

        Args:
            label: one of the classes.
            pixels: uint8 [H, W, 3], RGB.
            film: name of the film that the frame is from; None: it is of this moment.
            number: of the frame in the film.

        Returns:
            The new file.
        """
        path = self._free(label, film, number)
        with replacing(path) as temporary:
            Image.fromarray(pixels).save(temporary, "JPEG", quality=_QUALITY, subsampling=0)
        self.counts[label] += 1
        return path

    def _free(self, label: str, film: str | None, number: int) -> Path:
        """Return a path where nothing is."""
        moment, again = round(self._now() * 1000), 1
        while True:
            if film is None:
                name = f"{moment}.jpg"
            else:
                name = f"{film}{f'-{again}' if again > 1 else ''}_frame{number:06}.jpg"
            path = self._folder / label / name
            if not path.exists():
                return path
            moment, again = moment + 1, again + 1


def _files(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(1 for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
