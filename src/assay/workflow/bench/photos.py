"""The photos a benchmark is made with: some of the data given, or one that is drawn.

Knows nothing of engines.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from assay.data import Sample

MOST = 16
"""Photos that are read again and again: few enough to stay in the system's memory, so no disk is measured."""

DRAWN = "one drawn JPEG of 1080 × 1920"
"""What `drawn_photo` is called."""


def sample_photos(samples: Sequence[Sample], folder: Path) -> list[Path]:
    """Copy at most `MOST` photos, spread evenly over the data, into a folder.

    Images of array files become files too, so that all are read alike.
    """
    step = max(1.0, len(samples) / MOST)
    chosen = [samples[int(place * step)] for place in range(min(len(samples), MOST))]
    paths = []
    for place, sample in enumerate(chosen):
        path = folder / f"{place}{sample.path.suffix}"
        path.write_bytes(sample.read())
        paths.append(path)
    return paths


def drawn_photo() -> bytes:
    """Return a JPEG of 1080 × 1920 with about the detail of a photo; always the same."""
    rng = np.random.default_rng(0)
    layers = [rng.integers(0, 256, (1920 // cell, 1080 // cell, 3), dtype=np.uint8) for cell in (120, 24, 4)]
    images = [Image.fromarray(layer).resize((1080, 1920), Image.Resampling.BICUBIC) for layer in layers]
    picture = Image.blend(Image.blend(images[0], images[1], 0.3), images[2], 0.15)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()
