"""Explanations of many photos as files: a heat map a photo, and one sheet with all side by side.

Knows nothing of how evidence is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.errors import AssayError, UsageError
from assay.files import replacing
from assay.image.overlay import encode_png
from assay.inference.explanation import Explain, Explanation
from assay.inference.sheet import LIMIT, side_by_side
from assay.progress import Progress, silent

SHEET = "sheet.png"
_ENDING = "-heat.png"


@dataclass(frozen=True)
class Explained:
    """What was written.

    Attributes:
        rows: for every photo that could be read, in their order, `Explanation.to_dict` and, under `file`, the
            path of its heat map.
        sheet: the picture of all side by side; none where no photo could be read.
        failures: one sentence for every photo that could not be read.
    """

    rows: tuple[dict[str, Any], ...]
    sheet: Path | None
    failures: tuple[str, ...]


def explain_files(
    explain: Explain,
    photos: Sequence[Path],
    folder: Path,
    *,
    label: str | None = None,
    progress: Progress = silent,
) -> Explained:
    """Write `NAME-heat.png` for every photo and `sheet.png`, which shows the first 48.

    A photo that cannot be read is told of and passed over. Photos of one name from different folders are
    numbered: `NAME-2-heat.png`.

    Args:
        explain: from a photo and a class to an explanation.
        photos: files.
        folder: where to write; it is made if it is missing, and files of these names are replaced.
        label: the class to explain; none: for every photo the one that is predicted.
        progress: told of every photo.

    Raises:
        UsageError: there is no such class, or `folder` holds one of the photos, which may not be replaced.
        AssayError: the folder cannot be written to.
    """
    if folder.resolve() in {photo.resolve().parent for photo in photos}:
        raise UsageError(f"{folder} holds the photos themselves: choose another --out")
    rows: list[dict[str, Any]] = []
    shown: list[Explanation] = []
    failures: list[str] = []
    used: set[str] = set()
    for done, photo in enumerate(photos, start=1):
        progress("explaining", done, len(photos))
        try:
            explanation = explain(photo, label)
        except UsageError:
            raise
        except AssayError as error:
            failures.append(str(error))
            continue
        file = folder / _free_name(photo.stem, used)
        _write(file, explanation.png())
        rows.append({**explanation.to_dict(), "file": str(file)})
        if len(shown) < LIMIT:
            shown.append(explanation)
    sheet = folder / SHEET if rows else None
    if sheet is not None:
        _write(sheet, encode_png(side_by_side(shown, left_out=len(rows) - len(shown))))
    return Explained(tuple(rows), sheet, tuple(failures))


def _free_name(stem: str, used: set[str]) -> str:
    name, number = f"{stem}{_ENDING}", 2
    while name.casefold() in used:
        name, number = f"{stem}-{number}{_ENDING}", number + 1
    used.add(name.casefold())
    return name


def _write(path: Path, content: bytes) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise AssayError(f"{path} cannot be written: {error.strerror or error}") from None
