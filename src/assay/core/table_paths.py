"""Resolve the image paths written in a table, also those from another operating system."""

import os
import re
import unicodedata
from pathlib import Path

from assay.core.errors import AssayError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://|data:[a-z]+/", re.IGNORECASE)
_WINDOWS_DRIVE = re.compile(r"[a-z]:[/\\]|\\\\", re.IGNORECASE)


def resolve_table_path(root: Path, text: str, where: str) -> Path:
    """Return the file that a table means; whether it exists is for others to say.

    Args:
        root: absolute folder of the table.
        text: as it stands in the table.
        where: table and line, for errors.

    Raises:
        AssayError: it is an address, a place on a Windows drive, or no path at all.
    """
    if "\0" in text:
        raise AssayError(f"{where}: path holds a zero byte; save the table as plain text")
    bare = text.strip()
    if bare == text and bare.isascii() and "\\" not in bare and ":" not in bare:
        return Path(os.path.normpath(root / bare))
    exact = Path(os.path.normpath(root / text))
    if os.path.lexists(exact):
        return exact
    if os.name != "nt" and _WINDOWS_DRIVE.match(bare):
        raise AssayError(
            f"{where}: {bare!r} is a place on a Windows computer; write paths relative to the table's folder"
        )
    if _URL.match(bare):
        raise AssayError(
            f"{where}: {bare!r} is an address, and only files are read; download the photos and write their paths"
        )
    plain = Path(os.path.normpath(root / bare))
    for candidate in (plain, Path(os.path.normpath(root / bare.replace("\\", "/")))):
        found = _find_by_unicode_form(candidate)
        if found is not None:
            return found
    return candidate if "\\" in bare else plain


def _find_by_unicode_form(path: Path) -> Path | None:
    """Return the path that exists, or one whose names differ from it in the form of accents alone."""
    if os.path.lexists(path):
        return path
    if str(path).isascii():
        return None
    for form in ("NFC", "NFD"):
        other = Path(unicodedata.normalize(form, str(path)))
        if os.path.lexists(other):
            return other
    found = Path(path.anchor)
    for part in path.parts[1:]:
        if os.path.lexists(found / part):
            found /= part
            continue
        wanted = unicodedata.normalize("NFC", part)
        try:
            names = [path.name for path in found.iterdir()]
        except OSError:
            return None
        alike = [name for name in names if unicodedata.normalize("NFC", name) == wanted]
        if len(alike) != 1:
            return None
        found /= alike[0]
    return found
