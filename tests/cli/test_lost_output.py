"""Training whose output is closed or fails completes, and writes UTF-8 on an ASCII console."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.bundle import Bundle
from assay.recipe import Recipe, dump_recipe

_ASSAY = Path(sys.executable).with_name("assay")
CLASSES = ("café × 電", "Größe")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    for place, name in enumerate(CLASSES):
        (folder / name).mkdir()
        for number in range(12):
            pixels = rng.normal(70 + 90 * place, 30, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"é{number:02d}.png")
    return folder


@pytest.mark.parametrize(
    "way", ["> /dev/full", *(pytest.param(way, marks=pytest.mark.slow) for way in ("| head -n 1", ">&-"))]
)
def test_training_completes_when_its_output_fails(photos: Path, tiny: Recipe, tmp_path: Path, way: str):
    recipe, run = tmp_path / "tiny.yaml", tmp_path / "run"
    recipe.write_text(dump_recipe(tiny), encoding="utf-8")
    command = f"'{_ASSAY}' train '{photos}' -r '{recipe}' --run '{run}' --set train.epochs=2 {way}"
    variables = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    ended = subprocess.run(["bash", "-c", command], capture_output=True, check=False, env=variables)
    assert b"Traceback" not in ended.stderr
    assert set(Bundle.open(run / "model.assay").info.classes) == set(CLASSES)
    assert (run / "evaluation" / "test" / "report.html").is_file()
    for name in ("training.log", "manifest.csv", "evaluation/test/classification_report.txt"):
        text = (run / name).read_bytes().decode("utf-8")
        assert name == "training.log" or "café × 電" in text
    if way == "| head -n 1":
        assert ended.stdout == b"24 photos, 2 classes\n"
