"""Columns and cells of image tables: recognised names, cleaned values, and resolved paths of images."""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Final

from assay.core.errors import AssayError

COLUMN_NAMES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "path": (
        ("path",),
        ("file_name", "filename"),
        (
            *("file", "filepath", "file_path", "fname", "image", "img", "photo", "picture"),
            *("image_path", "imagepath", "img_path", "image_file", "img_file", "image_name", "img_name"),
            *("image_filename", "image_file_name", "image_file_path", "photo_path", "relative_path"),
        ),
        ("url", "uri", "image_url", "image_uri", "img_url"),
    ),
    "label": (
        ("label",),
        (
            "labels",
            "class",
            "class_name",
            "classname",
            "class_label",
            "label_name",
            "category",
            "target",
            "y",
        ),
    ),
    "split": (("split",), ("subset", "partition", "part", "set", "usage", "phase", "data_split")),
    "group": (("group",), ("group_id",)),
    "source_label": (("source_label",),),
    **{name: ((name,),) for name in ("id", "digest", "tensor", "shard")},
}
"""Recognised names of each column, in order of precedence."""
_MISSING_VALUES: Final = frozenset(
    {
        "",
        "nan",
        "-nan",
        "none",
        "null",
        "nil",
        "na",
        "n/a",
        "<na>",
        "#n/a",
        "#n/a n/a",
        "#na",
        "nat",
        "undefined",
        "\\n",
        "nan(ind)",
        "-nan(ind)",
        "1.#qnan",
        "1.#ind",
        "-1.#ind",
        *("#nv", "#n/d", "#n/b", "#i/t", "#н/д", "#yok"),  # Excel in other languages
    }
)
_SHEET_ERROR: Final = re.compile(r"#[^\W\d_a-z]+(?:/[^\W_a-z]+)?[!?]")
"""What spreadsheets store for a failed formula: `#REF!`, `#DIV/0!`, `#NAME?`, also in other languages."""


def cell_text(value: object) -> str:
    """Return a value as text: 1.0 as 1, booleans as true and false, NaN and None as empty.

    Bytes are decoded as UTF-8, for Parquet files without a text type.
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN alone is unequal to itself
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | Decimal) and value % 1 == 0:
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else str(value)


def is_missing(text: str) -> bool:
    """Whether a text is a missing value: empty, NaN, None, null, NA, or a spreadsheet error."""
    text = text.strip()
    return text.casefold() in _MISSING_VALUES or _SHEET_ERROR.fullmatch(text) is not None


def recognize_columns(path: Path, columns: Sequence[str]) -> dict[str, str]:
    """Return the meanings (`path`, `label`, ...) of columns by name; others are omitted.

    Raises `AssayError` if two columns have the same name, or names of the same precedence.
    """
    usual: dict[str, list[str]] = {}
    for name in columns:
        usual.setdefault(normalize_name(name), []).append(name)
    meaning: dict[str, str] = {}
    for column, ranks in COLUMN_NAMES.items():
        for rank in ranks:
            found = list(chain.from_iterable(usual.get(name, ()) for name in rank))
            if len(found) > 1 and len({normalize_name(name) for name in found}) == 1:
                raise AssayError(f"manifest {path} has two columns called {normalize_name(found[0])!r}; remove one")
            if len(found) > 1:
                both = " and ".join(repr(name) for name in found)
                raise AssayError(f"manifest {path}: the columns {both} may both be the {column}; call one {column!r}")
            if found:
                meaning[found[0]] = column
                break
    return meaning


def normalize_name(name: str) -> str:
    """Return a column name without case, quotes, spaces and hyphens: `File Name` is `file_name`."""
    text = unicodedata.normalize("NFKC", name).strip("\ufeff \t\r\n\"'").casefold()
    return re.sub(r"[\s\-.]+", "_", text)


_URL = re.compile(r"[a-z][a-z0-9+.-]+://|data:[a-z]+/", re.IGNORECASE)
_WINDOWS_DRIVE = re.compile(r"[a-z]:[/\\]|\\\\", re.IGNORECASE)


def resolve_table_path(root: Path, text: str, where: str) -> Path:
    """Return the file that a table refers to, whether it exists or not.

    `root` is the absolute folder of the table; `where` is table and line, for errors. Raises `AssayError` if the text
    is a URL, a path on a Windows drive, or no path.
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
    """Return the existing path, or one that differs only in Unicode normalisation."""
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
