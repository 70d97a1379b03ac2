"""Projects of small photos, one with a trained run, and a running studio."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from studio_projects import build_trained_project, paint
from studio_server import StudioServer, studio_server

from assay.recipe import Recipe
from assay.studio.project import Project


@pytest.fixture(scope="module")
def studio(folder: Path) -> Iterator[StudioServer]:
    """A running studio of the module's `folder`."""
    with studio_server(folder) as running:
        yield running


@pytest.fixture
def client(studio: StudioServer) -> Iterator[httpx.Client]:
    """A client of the running studio."""
    with studio.client() as opened:
        yield opened


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
