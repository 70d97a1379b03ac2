"""The command line, run in this process as a shell would run it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from assay.cli.main import main


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Assay = Callable[..., Result]


@pytest.fixture
def assay(capsys: pytest.CaptureFixture[str]) -> Assay:
    """Run `assay ARGUMENTS` and return its exit code and what it printed."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code: object = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return Result(code if isinstance(code, int) else 0, printed.out, printed.err)

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 12 different photos of 160 x 120 pixels in the classes closed and open."""
    noise = np.random.default_rng(0)
    for label in ("closed", "open"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(6):
            picture = Image.fromarray(noise.integers(30, 226, (12, 16, 3), np.uint8))
            picture.resize((160, 120)).save(tmp_path / "photos" / label / f"{number}.png")
    return tmp_path / "photos"
