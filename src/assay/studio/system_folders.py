"""Folders of the operating system, in which no project is created: it would write its labels and runs there."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from assay.core.errors import UsageError

_LINUX: Final = (
    *("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "lost+found"),
    *("proc", "run", "sbin", "snap", "sys", "usr", "var"),
)
_MACOS: Final = ("System", "Library", "private/etc", "private/var")
_WINDOWS: Final = ("SystemRoot", "ProgramFiles", "ProgramFiles(x86)", "ProgramData")
"""Environment variables that contain folders."""
_ALLOWED: Final = ("/dev/shm", "/run/media", "/var/home", "/var/tmp")  # noqa: S108 - compared, nothing is written there
"""Folders in those of the system that are for the files of users."""


def check_project_folder(folder: Path) -> None:
    """Refuse a folder of the operating system as a project.

    Raises:
        UsageError: it is the root of a file system, or lies in a folder of the operating system, other than the user's
            home and the folders for temporary files and drives.
    """
    if is_system_folder(folder):
        raise UsageError(f"{folder} belongs to the operating system: choose another folder, such as one in {_home()}")


def is_system_folder(folder: Path) -> bool:
    """Return whether `check_project_folder` refuses a folder."""
    folder = folder.resolve()
    if folder.parent == folder:
        return True
    if not any(folder.is_relative_to(place) for place in _system_folders()):
        return False
    return not any(folder.is_relative_to(place) for place in _own_folders())


def _system_folders() -> list[Path]:
    if sys.platform == "win32":
        return [Path(value) for name in _WINDOWS if (value := os.environ.get(name))]
    return [Path("/", name) for name in (*_LINUX, *_MACOS)]


def _own_folders() -> list[Path]:
    """Return the user's folders that may lie in those of the system, such as `/var/lib/NAME` of a service's user."""
    own = [_home(), Path(tempfile.gettempdir()).resolve(), *map(Path, _ALLOWED)]
    return [place for place in own if place.parent != place and place not in _system_folders()]


def _home() -> Path:
    return Path.home().resolve()
