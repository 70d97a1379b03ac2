"""Conventions of image tables: the usual names of columns, and the texts that stand for a missing value.

Sources: pandas' markers of missing values (2.2); the error values of Excel and LibreOffice.
"""

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
    **{name: ((name,),) for name in ("id", "digest", "tensor")},
}
"""Names of each column, those that go before others first."""
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
"""What spreadsheets put where a formula failed: `#REF!`, `#DIV/0!`, `#NAME?`, also in other languages."""


def cell_text(value: object) -> str:
    """Return a value as text: 1.0 as 1, truth values as true and false, NaN and None as nothing.

    Bytes are read as UTF-8, as Parquet files without a type for text have them.
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
    """Say whether a text stands for no value: empty, NaN, None, null, NA, an error of a spreadsheet."""
    text = text.strip()
    return text.casefold() in _MISSING_VALUES or _SHEET_ERROR.fullmatch(text) is not None


def recognize_columns(path: Path, columns: Sequence[str]) -> dict[str, str]:
    """Return what columns mean (`path`, `label`, ...), by the names they have; others are left out.

    Raises:
        AssayError: two columns have one name, or two names of one rank.
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
    """Return a column's name without case, blanks, quotes and hyphens: `File Name` is `file_name`."""
    text = unicodedata.normalize("NFKC", name).strip("\ufeff \t\r\n\"'").casefold()
    return re.sub(r"[\s\-.]+", "_", text)
