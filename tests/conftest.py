"""Fixtures that every part shares: the optional real photos, and nothing that touches the network."""

import os
import tarfile
from pathlib import Path

import pytest

_ARCHIVES = {"bottles": "bottles.tar", "button_cells": "button_cells.tar", "cifar10": "cifar10.tar.xz"}
_DATA = Path(os.environ.get("ASSAY_DATA", "../shared/data"))


def _archive(name: str) -> Path:
    path = (_DATA / _ARCHIVES[name]).resolve()
    if not path.is_file():
        reason = f"{path} is absent; set ASSAY_DATA to the folder that holds {_ARCHIVES[name]}"
        if os.environ.get("ASSAY_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def _extract(name: str, folder: Path, limit: int | None = None) -> Path:
    with tarfile.open(_archive(name)) as archive:
        if limit is None:
            archive.extractall(folder, filter="data")
        else:
            seen: dict[str, int] = {}
            for member in archive:
                kind = str(Path(member.name).parent)
                if member.isfile() and seen.get(kind, 0) < limit:
                    seen[kind] = seen.get(kind, 0) + 1
                    archive.extract(member, folder, filter="data")
                elif len(seen) == 20 and min(seen.values()) == limit:
                    break
    return folder / name


@pytest.fixture(scope="session")
def bottles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `open` and `closed`: 20 photos of 1080 x 1920, in bursts."""
    return _extract("bottles", tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def button_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with three views of button cells: 55 photos, copies among them, `.jpg` files that are WebP."""
    return _extract("button_cells", tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `train` and `test` of CIFAR-10 as JPEG files, the first 40 of every class."""
    return _extract("cifar10", tmp_path_factory.mktemp("photos"), limit=40)
