"""Explanations of predictions: overlays, contact sheets and files of heat maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from assay.core import notebook_html
from assay.core.errors import AssayError, UsageError
from assay.core.files import atomic_write
from assay.core.progress import Progress, no_progress
from assay.core.tables import format_percent
from assay.core.text import printable
from assay.image import Preprocess
from assay.image.decode import Box
from assay.image.overlay import encode_png, heatmap_overlay
from assay.inference.cam import heat_map, peak_position
from assay.inference.inputs import ImageInput
from assay.inference.prediction import Prediction

MAX_SIDE = 1024
"""The most pixels that the longer side of an explanation's pictures has."""

_NOTEBOOK_SIDE = 384  # in a notebook

Explainer = Callable[[ImageInput, str | None], "Explanation"]
"""From a photo and a class, or none for the predicted one, to an explanation; raises AssayError."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What in a photo speaks for a class.

    Attributes:
        label: the class explained.
        prediction: the classifier's answer, whichever class is explained.
        method: "cam", the class activation map, or "grad-cam".
        cells: float32 array of shape [h, w]: evidence for `label` against the other classes in every cell
            of the feature map, in units of logits.
        photo: uint8 array of shape [H, W, 3], RGB, upright; the longer side has 1024 pixels or fewer.
        width: of the photo as it was given, upright, in pixels.
        height: of the photo as it was given, upright, in pixels.
        preprocess: what the network sees of a photo.
    """

    label: str
    prediction: Prediction
    method: str
    cells: np.ndarray
    photo: np.ndarray
    width: int
    height: int
    preprocess: Preprocess

    @property
    def heat(self) -> np.ndarray:
        """Evidence for every pixel of `photo`, float32 [H, W], 0-1: see `assay.inference.cam.heat_map`."""
        height, width = self.photo.shape[:2]
        return heat_map(self.cells, self.preprocess, width, height)

    @property
    def peak(self) -> tuple[int, int] | None:
        """Column and row of the strongest evidence, in pixels of the photo as it was given.

        None where nothing in the photo speaks for the class.
        """
        height, width = self.photo.shape[:2]
        found = peak_position(self.heat)
        if found is None:
            return None
        column, row = found
        return int((column + 0.5) * self.width / width), int((row + 0.5) * self.height / height)

    @property
    def box(self) -> Box:
        """What was looked at: left, top, right, bottom in pixels of the photo as it was given."""
        return self.preprocess.box(self.width, self.height)

    def overlay(self, side: int = MAX_SIDE) -> np.ndarray:
        """Return the photo coloured by heat, uint8 [h, w, 3], the longer side at most `side` pixels."""
        photo = self.small(side)
        height, width = photo.shape[:2]
        heat = heat_map(self.cells, self.preprocess, width, height)
        return heatmap_overlay(photo, heat, self.preprocess.box(width, height))

    def small(self, side: int = MAX_SIDE) -> np.ndarray:
        """Return the photo without heat, uint8 [h, w, 3], the longer side at most `side` pixels."""
        height, width = self.photo.shape[:2]
        scale = side / max(height, width)
        if scale >= 1:
            return self.photo
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return np.array(Image.fromarray(self.photo).resize(size, Image.Resampling.BILINEAR))

    def png(self, side: int = MAX_SIDE) -> bytes:
        """Return `overlay` as the bytes of a PNG file."""
        return encode_png(self.overlay(side))

    def _repr_html_(self) -> str:
        about = f"what speaks for {self.label}; answer: {self.prediction.label}"
        return notebook_html.panel(about, notebook_html.image(self.png(_NOTEBOOK_SIDE), about, _NOTEBOOK_SIDE))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; pictures are not among them."""
        return {
            **self.prediction.to_dict(),
            "explained": self.label,
            "method": self.method,
            "peak": self.peak,
            "box": self.box,
            "size": (self.width, self.height),
            "cells": [[round(float(value), 4) for value in row] for row in self.cells],
        }


MAX_ON_SHEET = 48
"""Explanations on a sheet at most: it is to be looked at."""

_COLUMNS = 3
_TILE_SIDE = 224  # of a photo, in pixels
_GAP = 20
_SEAM = 4  # between a photo and its heat map
_LINE = 20
_INK, _MUTED, _BACKGROUND = (34, 34, 34), (110, 110, 110), (238, 240, 242)


def draw_contact_sheet(explanations: Sequence[Explanation], *, left_out: int = 0) -> np.ndarray:
    """Draw every photo beside its heat map, with its name, the answer and the class explained.

    Args:
        explanations: in reading order, one or more; those behind the first 48 are left out.
        left_out: how many others there are, which the last line tells.

    Returns:
        uint8 array of shape [H, W, 3], RGB; three pairs a row.

    Raises:
        ValueError: there is nothing to draw.
    """
    shown = explanations[:MAX_ON_SHEET]
    if not shown:
        raise ValueError("a sheet needs one explanation or more")
    columns = min(_COLUMNS, len(shown))
    tile = 2 * _TILE_SIDE + _SEAM, _TILE_SIDE + 2 * _LINE
    rows = -(-len(shown) // columns)
    left_out += len(explanations) - len(shown)
    width, height = columns * (tile[0] + _GAP) + _GAP, rows * (tile[1] + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height + (_LINE if left_out else 0)), "white")
    for place, explanation in enumerate(shown):
        row, column = divmod(place, columns)
        _draw_pair(sheet, explanation, _GAP + column * (tile[0] + _GAP), _GAP + row * (tile[1] + _GAP))
    if left_out:
        _draw_text(sheet, f"{left_out} more are not shown", (_GAP, height - _GAP // 2), _MUTED)
    return np.array(sheet)


def _draw_pair(sheet: Image.Image, explanation: Explanation, left: int, top: int) -> None:
    for place, pixels in enumerate((explanation.small(_TILE_SIDE), explanation.overlay(_TILE_SIDE))):
        square = Image.new("RGB", (_TILE_SIDE, _TILE_SIDE), _BACKGROUND)
        height, width = pixels.shape[:2]
        square.paste(Image.fromarray(pixels), ((_TILE_SIDE - width) // 2, (_TILE_SIDE - height) // 2))
        sheet.paste(square, (left + place * (_TILE_SIDE + _SEAM), top))
    name = PurePath(explanation.prediction.source or "photo").name
    _draw_text(sheet, name, (left, top + _TILE_SIDE + 3), _MUTED)
    _draw_text(sheet, caption(explanation), (left, top + _TILE_SIDE + 3 + _LINE), _INK)


def caption(explanation: Explanation) -> str:
    """Say in one line what was answered and what the heat is evidence of."""
    prediction = explanation.prediction
    answer = f"{prediction.label} {format_percent(prediction.confidence)}"
    if explanation.peak is None:
        return f"{answer} · nothing here speaks for {explanation.label}"
    same = explanation.label == prediction.label
    return answer if same else f"{answer} · what speaks for {explanation.label}"


def _draw_text(sheet: Image.Image, text: str, at: tuple[int, int], ink: tuple[int, int, int]) -> None:
    font = ImageFont.load_default(14)
    room, text = 2 * _TILE_SIDE + _SEAM, printable(text)
    if font.getlength(text) > room:
        while font.getlength(f"{text}…") > room:
            text = text[:-1]
        text += "…"
    ImageDraw.Draw(sheet).text(at, text, fill=ink, font=font)


SHEET_NAME = "sheet.png"
_HEAT_MAP_SUFFIX = "-heat.png"


@dataclass(frozen=True)
class WrittenExplanations:
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


def write_explanations(
    explain: Explainer,
    photos: Sequence[Path],
    folder: Path,
    *,
    label: str | None = None,
    progress: Progress = no_progress,
) -> WrittenExplanations:
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
        raise AssayError(f"{path} cannot be written: {error.strerror or error}") from None
