"""Photos and projects for tests of the studio."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from assay.recipe import Recipe
from assay.studio.project import Project


def paint(path: Path, colour: tuple[int, int, int] = (200, 60, 60), seed: int = 0) -> Path:
    """Write a small noisy photo."""
    noise = np.random.default_rng(seed).normal(colour, 25, (40, 48, 3)).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path)
    return path


def build_trained_project(folder: Path, colours: Path, recipe: Recipe) -> None:
    """Create a project of the photos of two colours, labelled, with the finished run `run-1`."""
    from assay.pipeline import train_classifier  # noqa: PLC0415  it imports torch

    folder.mkdir()
    for name in ("red", "blue"):
        for path in sorted((colours / name).glob("[0-9]*.png")):
            shutil.copy(path, folder / f"{name}-{path.name}")
    project = Project.open(folder)
    for name in ("red", "blue"):
        members = [photo.id for photo in project.photos.values() if photo.name.startswith(name)]
        project.label(members, name, project.revision)
    train_classifier(folder / "labels.csv", recipe, folder / "runs" / "run-1")
