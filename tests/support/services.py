"""Programs that tests need besides Python packages. `make services` installs them."""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

_FOLDERS = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"


def find_program(name: str) -> str:
    """Return the path of a program; skip the test where it is absent, or fail where services are required."""
    path = shutil.which(name, path=_FOLDERS)
    if path is None:
        unavailable(f"{name} is not installed: make services")
    return path


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail it where services are required."""
    if os.environ.get("ASSAY_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
