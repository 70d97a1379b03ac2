"""Photos for the tests of the strategy `auto`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide photos whose class is the colour of their left end, which a centre crop cuts off."""
    folder = tmp_path_factory.mktemp("wide")
    generator = np.random.default_rng(0)
    for name, colour in (("blue", (20, 30, 200)), ("red", (200, 30, 20))):
        (folder / name).mkdir()
        for number in range(30):
            pixels = generator.integers(90, 160, (32, 160, 3), dtype=np.uint8)
            # Every tenth photo has a wrong label.
            pixels[:, :24] = colour if number % 10 else colour[::-1]
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder
