"""Commands to copy: how the program is called from here, and paths as a shell takes them."""

import os
import shlex
import shutil
import sys
from pathlib import Path

NAME = "assay"


def program() -> str:
    """Return what a shell in the current folder runs this very program by.

    `assay` where it is the one on the PATH; else its path, relative where it lies below the current folder.
    """
    own = _own()
    found = shutil.which(NAME)
    if own is None or (found is not None and Path(found).resolve() == own.resolve()):
        return NAME
    path = Path(os.path.abspath(own))  # noqa: PTH100 - links are kept: a virtual environment may be one
    here = Path.cwd()
    if not path.is_relative_to(here):
        return shlex.quote(str(path))
    relative = str(path.relative_to(here))
    return shlex.quote(relative if os.sep in relative else f".{os.sep}{relative}")


def command(*words: str | Path) -> str:
    """Return a command line of this program, ready to be pasted into a shell."""
    return " ".join([program(), *(shlex.quote(str(word)) for word in words)])


def _own() -> Path | None:
    """Return the program's file: the one that was called, else the one beside this Python."""
    called = Path(sys.argv[0])
    beside = Path(sys.executable).with_name(NAME)
    return next((path for path in (called, beside) if path.stem == NAME and path.is_file()), None)
