"""Projects of small photos, and one with a trained run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.recipe import Recipe
from assay.studio.project import Project

BuildOnce = Callable[[str, Callable[[Path], object]], Path]


def paint(path: Path, colour: tuple[int, int, int] = (200, 60, 60), seed: int = 0) -> Path:
    """Write a small noisy photo."""
    noise = np.random.default_rng(seed).normal(colour, 25, (40, 48, 3)).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Open a project with `count` unlabelled photos, or with photos of these names."""

    def make(count: int = 6, names: list[str] | None = None) -> Project:
        folder = tmp_path / "project"
        for number, name in enumerate(names or [f"photo-{number:03}.png" for number in range(count)]):
            paint(folder / name, seed=number)
        return Project.open(folder)

    return make


@pytest.fixture(scope="session")
def _trained(build_once: BuildOnce, colours: Path, tiny: Recipe) -> Path:
    from assay.pipeline import train_classifier  # noqa: PLC0415  it imports torch

    def build(folder: Path) -> None:
        folder.mkdir()
        for name in ("red", "blue"):
            for path in sorted((colours / name).glob("[0-9]*.png")):
                shutil.copy(path, folder / f"{name}-{path.name}")
        project = Project.open(folder)
        for name in ("red", "blue"):
            project.label(
                [item.id for item in project.photos.values() if item.name.startswith(name)], name, project.revision
            )
        train_classifier(folder / "labels.csv", tiny, folder / "runs" / "run-1")

    return build_once("studio-project", build)


@pytest.fixture
def trained_project(_trained: Path, tmp_path: Path) -> Path:
    """A folder with 80 photos in two classes and a finished run."""
    folder = tmp_path / "trained"
    shutil.copytree(_trained, folder)
    return folder
