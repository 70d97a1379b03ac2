"""Projects of small photos, and one with a trained run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from studio_projects import build_trained_project, paint

from assay.recipe import Recipe
from assay.studio.project import Project


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Open a project with `count` unlabelled photos, or with photos of these names."""

    def make(count: int = 6, names: list[str] | None = None) -> Project:
        folder = tmp_path / "project"
        for number, name in enumerate(names or [f"photo-{number:03}.png" for number in range(count)]):
            paint(folder / name, seed=number)
        return Project.open(folder)

    return make


@pytest.fixture
def trained_project(build_once, colours: Path, tiny: Recipe, tmp_path: Path) -> Path:
    """A folder with 80 photos in two classes and a finished run."""
    built = build_once("studio-project", lambda folder: build_trained_project(folder, colours, tiny))
    folder = tmp_path / "trained"
    shutil.copytree(built, folder)
    return folder
