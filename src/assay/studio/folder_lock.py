"""The lock of a project's hidden folder: one studio at a time, whose address a second one of the same user can show."""

import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from assay.core.errors import UsageError
from assay.core.files import open_file
from assay.core.locks import open_locked

_FILE: Final = "lock"
_MODE: Final = 0o600
_MAX_BYTES: Final = 1024
_ADDRESS: Final = re.compile(r"(?P<origin>http://127\.0\.0\.1:\d{1,5})/\?token=[\w-]+")


class StudioIsOpenError(UsageError):
    """Another studio has the folder.

    Attributes:
        address: of its page, with the token, to be shown to this user only; None: it is not known.
    """

    def __init__(self, name: str, address: str | None) -> None:
        found = None if address is None else _ADDRESS.fullmatch(address)
        self.address = None if found is None else address
        if found is None:
            page = "use its page, whose address is on the console where it was started"
        else:
            page = f"use its page at {found['origin']}"
        super().__init__(f"another studio is open for {name}: {page}, or stop it first")


class FolderLock:
    """Locks a hidden folder until it is closed; the lock file contains the address of the studio.

    The address has the token, so it is written only if no other user can read the file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Lock a folder.

        Args:
            folder: which exists.
            name: for the sentence of the error.

        Raises:
            StudioIsOpenError: another studio has it.
        """
        path = folder / _FILE
        descriptor = open_locked(path)
        if descriptor is None:
            raise StudioIsOpenError(name, _read_address(path))
        self._descriptor = descriptor
        self.publish("")

    def publish(self, address: str) -> None:
        """Write the address of this studio, with the token."""
        if sys.platform == "win32":  # nothing is locked there, so nobody reads it
            return
        with suppress(OSError):  # without it, a second studio cannot show the address
            os.ftruncate(self._descriptor, 0)
            os.fchmod(self._descriptor, _MODE)
            if _is_private(self._descriptor):
                os.pwrite(self._descriptor, address.encode(), 0)

    def close(self) -> None:
        """Remove the address and release the lock."""
        self.publish("")
        os.close(self._descriptor)


def _is_private(descriptor: int) -> bool:
    """Return whether an open file is this user's, and only this user can read or change it."""
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _read_address(path: Path) -> str | None:
    try:
        with open_file(path) as stream:
            return stream.read(_MAX_BYTES).decode("ascii") if _is_private(stream.fileno()) else None
    except (OSError, ValueError):
        return None
