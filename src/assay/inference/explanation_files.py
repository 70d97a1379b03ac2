"""Files of explanations: a heat map for every image, and a contact sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from assay.core.errors import AssayError, UsageError
from assay.core.files import atomic_write, write_error_reason
from assay.core.progress import Progress, no_progress
from assay.core.text_layout import format_percent
from assay.image.contact_sheet import MUTED, CaptionLine, ContactSheet, Tile
from assay.image.overlay import encode_png
from assay.inference.explanation import Explainer, Explanation

MAX_ON_SHEET = 48
"""Maximum number of explanations on a contact sheet."""

_SHEET_COLUMNS = 3
_SHEET_SIDE = 224  # of an image, in pixels
_SHEET_GAP = 20


def draw_contact_sheet(explanations: Sequence[Explanation], *, left_out: int = 0) -> np.ndarray:
    """Draw up to 48 images beside their heat maps, with captions, three pairs per row; returns uint8 [H, W, 3], RGB.

    `left_out` is the number of further images, for the last line. Raises `ValueError` if there are no explanations.
    """
    shown = explanations[:MAX_ON_SHEET]
    if not shown:
        raise ValueError("a contact sheet needs at least one explanation")
    tiles = [_explanation_tile(explanation) for explanation in shown]
    left_out += len(explanations) - len(shown)
    footer = f"{left_out} more are not shown" if left_out else ""
    return np.array(ContactSheet(tiles, _SHEET_COLUMNS, _SHEET_SIDE, footer=footer, gap=_SHEET_GAP).draw())


def _explanation_tile(explanation: Explanation) -> Tile:
    images = explanation.small(_SHEET_SIDE), explanation.overlay(_SHEET_SIDE)
    name = PurePath(explanation.prediction.source or "photo").name
    return Tile(images, (CaptionLine(name, MUTED), CaptionLine(caption(explanation))))


def caption(explanation: Explanation) -> str:
    """Return a line with the prediction and the explained class."""
    prediction = explanation.prediction
    text = f"{prediction.label} {format_percent(prediction.confidence)}"
    if explanation.peak is None:
        return f"{text} · no evidence for {explanation.label}"
    return text if explanation.label == prediction.label else f"{text} · evidence for {explanation.label}"


SHEET_NAME = "sheet.png"
_HEAT_MAP_SUFFIX = "-heat.png"


@dataclass(frozen=True)
class WrittenExplanations:
    """The files written by `write_explanations`.

    Attributes:
        rows: for every readable image, in order, `Explanation.to_dict` and the path of its heat map as `file`.
        sheet: the contact sheet; None if no image could be read.
        failures: one message for every unreadable image.
    """

    rows: tuple[dict[str, Any], ...]
    sheet: Path | None
    failures: tuple[str, ...]


def write_explanations(
    explain: Explainer,
    photos: Sequence[Path],
    folder: Path,
    *,
    label: str | None = None,
    progress: Progress = no_progress,
) -> WrittenExplanations:
    """Write `NAME-heat.png` for every image and a contact sheet `sheet.png` of the first 48.

    Unreadable images are skipped. Images of the same name are numbered: `NAME-2-heat.png`. Existing files of these
    names are replaced. `label` is the class to explain; None: the predicted one of each image.

    Raises:
        UsageError: there is no such class, or `folder` contains one of the images.
        AssayError: the folder cannot be written to.
    """
    if folder.resolve() in {photo.resolve().parent for photo in photos}:
        raise UsageError(f"{folder} contains the photos: choose another --out")
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
        file = folder / _unique_name(photo.stem, used)
        _write_file(file, explanation.png())
        rows.append({**explanation.to_dict(), "file": str(file)})
        if len(shown) < MAX_ON_SHEET:
            shown.append(explanation)
    sheet = folder / SHEET_NAME if rows else None
    if sheet is not None:
        _write_file(sheet, encode_png(draw_contact_sheet(shown, left_out=len(rows) - len(shown))))
    return WrittenExplanations(tuple(rows), sheet, tuple(failures))


def _unique_name(stem: str, used: set[str]) -> str:
    name, number = f"{stem}{_HEAT_MAP_SUFFIX}", 2
    while name.casefold() in used:
        name, number = f"{stem}-{number}{_HEAT_MAP_SUFFIX}", number + 1
    used.add(name.casefold())
    return name


def _write_file(path: Path, content: bytes) -> None:
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise AssayError(f"cannot write {path}: {write_error_reason(error, path)}") from None
