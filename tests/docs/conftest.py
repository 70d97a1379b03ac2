"""The Markdown of the project, and a folder in which its commands can be run."""

import shutil
from pathlib import Path

import pytest

from assay.pipeline import TrainCallbacks, train_classifier
from assay.recipe import Recipe


@pytest.fixture(scope="session")
def docs_folder(colours: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, two runs and a model, by the names that the documentation uses."""
    folder = tmp_path_factory.mktemp("workshop")
    for names in (("photos", 40), ("other-photos", 12)):
        for label, colour in (("open", "red"), ("closed", "blue")):
            place = folder / names[0] / label
            place.mkdir(parents=True)
            for number in range(1, names[1]):
                shutil.copy(colours / colour / f"{number:03}.png", place)
    train_classifier(folder / "photos", tiny, folder / "runs" / "default-1", TrainCallbacks())
    shutil.copytree(folder / "runs" / "default-1", folder / "runs" / "default-2")
    for recipe in ("bottle", "button-cell", "custom-resnet", "defect"):
        (folder / "runs" / f"{recipe}-1").symlink_to("default-1")
    shutil.copy(folder / "runs" / "default-1" / "model.assay", folder / "model.assay")
    shutil.copy(folder / "photos" / "open" / "001.png", folder / "new.jpg")
    (folder / "mine.yaml").write_text("extends: bottle\ntrain: {epochs: 10}\n", encoding="utf-8")
    return folder
