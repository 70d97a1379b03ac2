"""The command line, run in this process as a shell would run it."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

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
