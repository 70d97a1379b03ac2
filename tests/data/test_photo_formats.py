"""Formats of photos, counted by content."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from assay.data import load_dataset
from assay.data.dataset import count_formats


def test_formats_are_counted_by_content(tmp_path: Path):
    names = {"a/1.jpg": "WEBP", "a/2.jpg": "JPEG", "b/1.tif": "TIFF", "b/2.png": "WEBP", "b/3.bmp": "BMP"}
    rng = np.random.default_rng(0)
    for name, kind in names.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(tmp_path / name, kind)
    dataset = load_dataset(tmp_path)
    assert count_formats(dataset.samples) == {"webp": 2, "jpeg": 1, "tiff": 1, "bmp": 1}
    (tmp_path / "a/2.jpg").unlink()
    unknown = [replace(sample, format=None) for sample in dataset.samples]  # as read from a manifest
    assert "jpeg" not in count_formats(unknown)


def test_arrays_have_none(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 20, 20, 3), np.uint8)
    np.savez(tmp_path / "photos.npz", images=pixels, labels=np.array([0, 0, 1, 1]))
    assert count_formats(load_dataset(tmp_path / "photos.npz").samples) == {}
