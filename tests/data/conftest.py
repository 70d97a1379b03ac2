"""Small photos made on the spot."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WritePhoto = Callable[..., Path]
MakeFolders = Callable[..., Path]


@pytest.fixture
def write_photo() -> WritePhoto:
    """Write noise that depends on the path, in the given format regardless of the name; create parent folders."""

    def write(path: Path, kind: str = "JPEG", size: tuple[int, int] = (24, 16)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(zlib.crc32(path.as_posix().encode()))
        pixels = noise.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, format=kind)
        return path

    return write


@pytest.fixture
def class_folders(tmp_path: Path, write_photo: WritePhoto) -> MakeFolders:
    """Make folders of photos from `folder=count`, slashes written as double underscores."""

    def make(**counts: int) -> Path:
        root = tmp_path / "photos"
        for name, count in counts.items():
            (root / name.replace("__", "/")).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                write_photo(root / name.replace("__", "/") / f"{number:03}.jpg")
        return root

    return make
