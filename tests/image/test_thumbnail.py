"""Thumbnails."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from assay.image.thumbnail import BACKGROUND, letterbox, square_thumbnail


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 100))
def test_any_shape_fits_the_square_with_its_proportions(width: int, height: int, size: int):
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    square = letterbox(pixels, size)
    assert square.shape == (size, size, 3)
    assert square.dtype == np.uint8
    black = (square == 0).all(axis=2)
    tall, wide = int(black.any(axis=1).sum()), int(black.any(axis=0).sum())
    assert max(tall, wide) == size
    assert abs(tall - max(1, size * height / max(width, height))) <= 0.5
    assert abs(wide - max(1, size * width / max(width, height))) <= 0.5


def test_photo_is_upright_with_light_bars(tmp_path: Path):
    image = Image.new("RGB", (40, 20), (200, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif)
    photo = square_thumbnail(tmp_path / "turned.jpg", 20)
    assert photo.problem is None
    assert photo.pixels[10, 10, 0] > 150
    assert photo.pixels[10, 1].tolist() == list(BACKGROUND)
    assert photo.pixels[1, 10, 0] > 150


def test_missing_file_gives_a_tile_with_the_reason(tmp_path: Path):
    photo = square_thumbnail(tmp_path / "none.jpg", 16)
    assert photo.problem == "file is missing"
    assert (photo.pixels == BACKGROUND).all()


@pytest.mark.parametrize("name", ["", ".", "a\0b"])
def test_special_file_gives_a_tile_with_the_reason(name: str):
    assert square_thumbnail(name, 16).problem == "cannot be opened"


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0 truncated"])
def test_unreadable_file_gives_a_tile_with_the_reason(tmp_path: Path, data: bytes):
    (tmp_path / "bad.jpg").write_bytes(data)
    photo = square_thumbnail(tmp_path / "bad.jpg", 16)
    assert photo.problem
    assert photo.pixels.shape == (16, 16, 3)


def test_real_photos(bottles: Path, button_cells: Path):
    paths = [path for folder in (bottles, button_cells) for path in folder.rglob("*") if path.is_file()]
    assert len(paths) == 75
    for path in paths[::5]:
        photo = square_thumbnail(path, 64)
        assert photo.problem is None
        assert photo.pixels.std() > 1
