"""The names in an archive: which may be written, and where.

Knows nothing of archive formats.
"""

import re
import unicodedata
from pathlib import Path

from assay.errors import AssayError

_DRIVE = re.compile(r"^[A-Za-z]:")


class Entries:
    """Gives every entry of one archive its place below a folder, or refuses it.

    No two entries may stand at one place, also not on file systems that take `Cat` for `cat` or that
    compose accents otherwise.
    """

    def __init__(self, archive: Path, root: Path, limit: int) -> None:
        self.archive = archive
        self.root = root
        self.files = 0
        """Files placed so far."""
        self._limit = limit
        self._count = 0
        self._places: dict[str, tuple[str, bool]] = {}

    def folder(self, name: str) -> None:
        """Make the folder that the archive calls `name`.

        Raises:
            AssayError: the name is refused.
        """
        self._make_folders(name, self._parts(name))

    def file(self, name: str) -> Path:
        """Return the path, which does not exist yet, for the file that the archive calls `name`.

        Raises:
            AssayError: the name is refused.
        """
        parts = self._parts(name)
        if not parts or name.endswith("/"):
            raise self.refusal(name, "is a file with a folder's name")
        self._make_folders(name, parts[:-1])
        if not self._place(name, parts, is_file=True):
            raise self.refusal(name, "stands in the archive twice")
        self.files += 1
        return self.root.joinpath(*parts)

    def refusal(self, name: str, reason: str) -> AssayError:
        """Return the error that says why the archive was not unpacked."""
        shown = name.encode("unicode_escape").decode("ascii")
        if len(shown) > 80:
            shown = f"{shown[:60]}…{shown[-17:]}"
        return AssayError(f"{self.archive} was not unpacked because its entry '{shown}' {reason}")

    def _make_folders(self, name: str, parts: tuple[str, ...]) -> None:
        new = [self._place(name, parts[:depth], is_file=False) for depth in range(1, len(parts) + 1)]
        if any(new):
            self.root.joinpath(*parts).mkdir(parents=True, exist_ok=True)

    def _place(self, name: str, parts: tuple[str, ...], *, is_file: bool) -> bool:
        """Note what stands at a place; return whether it is new there."""
        path = "/".join(parts)
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        known = self._places.setdefault(key, (path, is_file))
        if known[0] != path:
            raise self.refusal(name, f"cannot be told from {known[0]!r} where case or accents do not count")
        if known[1] != is_file:
            raise self.refusal(name, "is both a file and a folder")
        new = len(self._places) > self._count
        self._count = len(self._places)
        if self._count > self._limit:
            raise AssayError(f"{self.archive} has more than {self._limit:,} entries and was not unpacked")
        return new

    def _parts(self, name: str) -> tuple[str, ...]:
        """Split a name into its folders and the last name; `a//./b` is `a/b`."""
        parts = tuple(part for part in name.split("/") if part not in {"", "."})
        if name.startswith("/") or _DRIVE.match(name) or ".." in parts:
            raise self.refusal(name, "leads out of the folder")
        if "\\" in name:
            raise self.refusal(name, "has a backslash, which is a separator on some systems")
        if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
            raise self.refusal(name, "has a control character or is no valid text")
        if any(len(part.encode()) > 255 for part in parts) or len(name.encode()) > 1024 or len(parts) > 32:
            raise self.refusal(name, "has a name that is too long or too deep")
        return parts
