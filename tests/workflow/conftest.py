"""A data set of two colours, so that a tiny network learns it in seconds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.recipe import Recipe, load_recipe

SIDE = 32


def paint(folder: Path, name: str, colour: tuple[int, int, int], count: int, seed: int) -> None:
    """Write `count` noisy photos of one colour."""
    rng = np.random.default_rng(seed)
    (folder / name).mkdir(parents=True)
    for number in range(count):
        noise = rng.normal(colour, 40, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noise).save(folder / name / f"{number:03}.png")


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `blue` and `red`, 40 photos each, and a file that is no photo."""
    folder = tmp_path_factory.mktemp("colours")
    paint(folder, "red", (170, 90, 90), 40, seed=1)
    paint(folder, "blue", (90, 90, 170), 40, seed=2)
    (folder / "red" / "broken.png").write_bytes((folder / "red" / "000.png").read_bytes()[:200])
    (folder / "red" / "notes.txt").write_text("no photo", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """A recipe that trains in seconds."""
    return load_recipe(
        "custom-resnet",
        [
            "name=colours",
            f"preprocess.size={SIDE}",
            "net.resnet={block: basic, layers: [1], widths: [8], stem: conv3}",
            "augment.train=[{name: horizontal_flip}]",
            "train.epochs=2",
            "train.batch_size=16",
            "train.workers=0",
        ],
    )
