"""The photos to label (uncertain samples, suspected label errors) and the CSV manifest of labels given."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from assay.core import image_tables
from assay.core.errors import AssayError, UsageError
from assay.core.files import atomic_write, write_text
from assay.core.image_table_cells import resolve_table_path
from assay.core.locks import file_lock
from assay.core.tables import SafeCsvWriter
from assay.serving.request_log.uncertain_samples import read_uncertain_samples

Row = dict[str, str]


def read_label_table(path: Path, needed: Sequence[str], *, literal: bool = False) -> list[Row]:
    """Return the rows of a table that has at least the columns `needed`, including `path`; paths become absolute.

    All formats of training manifests but Parquet are supported; `needed` uses their column names, and rows have both
    the table's own columns and those needed. With `literal`, values are not converted: the server wrote the file.

    Raises:
        UsageError: it cannot be read, or lacks a column.
    """
    folder = path.absolute().parent
    try:
        table = image_tables.read_table(path, literal=literal)
        if missing := [name for name in needed if table.column_name(name) is None]:
            raise UsageError(f"{path} has no column {' or '.join(missing)}: give the table of another run")
        places = [
            folder / row.cells["path"]
            if table.literal
            else resolve_table_path(folder, row.cells["path"], table.location(row))
            for row in table.rows
        ]
    except AssayError as error:
        raise UsageError(str(error)) from None
    # Columns that are needed get the names they are needed by.
    names = {name: meant if (meant := table.meaning.get(name, name)) in needed else name for name in table.columns}
    return [
        {
            **{names[name]: row.cells.get(table.meaning.get(name, name), "") for name in table.columns},
            "path": os.path.normpath(place),
        }
        for row, place in zip(table.rows, places, strict=True)
    ]


def write_label_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write the given columns of rows as CSV."""
    text = io.StringIO()
    writer = SafeCsvWriter(text, exact=True)
    writer.writerow(columns)
    writer.writerows([row.get(name, "") for name in columns] for row in rows)
    write_text(path, text.getvalue())


_SUSPECT_KIND = "label_suspect"


@dataclass(frozen=True, slots=True)
class LabelCandidate:
    """A photo to label."""

    path: Path
    """Absolute."""
    label: str
    """Its current label."""
    note: str
    """Why it should be checked."""
    fleeting: bool = False
    """Whether the server may delete the photo."""

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:32]


def uncertain_candidates(folder: Path, model: str) -> list[LabelCandidate]:
    """Return the photos of a folder that a model classified, least confident first.

    Raises:
        UsageError: its manifest cannot be read.
    """
    try:
        kept = read_uncertain_samples(folder)
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise UsageError(f"{folder} holds no manifest of uncertain photos: {error}") from None
    return [
        LabelCandidate(
            folder.absolute() / row.path, row.label, f"{100 * row.confidence:.0f} % confidence", fleeting=True
        )
        for row in sorted(kept, key=lambda row: row.confidence)
        if row.model == model
    ]


def suspect_candidates(path: Path, data: Path | None) -> list[LabelCandidate]:
    """Return the photos with suspected label errors, most suspicious first.

    Args:
        path: `label_issues.csv` of a report, or the JSON that `assay check --model --json` prints.
        data: manifest of the data set, needed to locate the photos of a JSON file.

    Raises:
        UsageError: the file is neither, or a photo is not in the manifest.
    """
    if path.suffix.casefold() == ".json":
        return list(_check_candidates(path, data))
    return [
        LabelCandidate(
            Path(row["path"]),
            row["label"],
            f"{row['suggested']}?" if row.get("suggested") else "",
        )
        for row in read_label_table(path, ("path", "label"), literal=True)
    ]


def _check_candidates(path: Path, data: Path | None) -> Iterator[LabelCandidate]:
    places = _photo_paths(data)
    for photo in _suspect_photos(path):
        place = places.get(photo["id"], Path(photo["id"]))
        if not place.is_absolute():
            raise UsageError(
                f"{path} does not tell where {photo['id']} is: give the manifest of its data set with --data"
            )
        yield LabelCandidate(place, photo["label"], photo["note"])


def _photo_paths(data: Path | None) -> dict[str, Path]:
    if data is None:
        return {}
    folder = data.absolute().parent
    places = {}
    for row in read_label_table(data, ("path", "label")):
        place = Path(row["path"])
        inside = place.relative_to(folder) if place.is_relative_to(folder) else place
        places[row.get("id") or inside.as_posix()] = place
    return places


def _suspect_photos(path: Path) -> Sequence[dict[str, str]]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return [
            {name: str(photo[name]) for name in ("id", "label", "note")}
            for finding in report["findings"]
            if finding["kind"] == _SUSPECT_KIND
            for group in finding["groups"]
            for photo in group["photos"]
        ]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} was not written by `assay check --model --json`: {error!r}") from None


LABELS_FILE, MERGED_FILE, PHOTOS_FOLDER = "labels.csv", "relabelled.csv", "photos"
_LABEL_COLUMNS = ("path", "label")


class LabelStore:
    """Stores the labels given by users in a CSV manifest."""

    def __init__(self, path: Path, data: Path | None = None) -> None:
        """The labels are merged into a copy of the manifest `data`; raise `UsageError` for an invalid file."""
        self.path = path.absolute()
        self._folder = self.path.parent
        self._columns: tuple[str, ...] = _LABEL_COLUMNS
        self._data: list[Row] = []
        if data is not None:
            self._columns, self._data = _read_dataset(data.absolute())
        self.given()

    @property
    def whole(self) -> Path | None:
        """Manifest of the whole data set with the labels; None if the data set is unknown."""
        return self._folder / MERGED_FILE if self._data else None

    def given(self) -> dict[Path, str]:
        """Return the labels by absolute path of the photo; raise `UsageError` if the manifest is invalid."""
        if not self.path.exists():
            return {}
        return {Path(row["path"]): row["label"] for row in read_label_table(self.path, _LABEL_COLUMNS, literal=True)}

    def place(self, candidate: LabelCandidate) -> Path:
        """Return the path of a photo in the manifest: its own, or that of its copy."""
        return self._folder / PHOTOS_FOLDER / candidate.path.name if candidate.fleeting else candidate.path

    def give(self, candidate: LabelCandidate, label: str) -> None:
        """Set the label of a photo.

        Raises:
            OSError: the photo does not exist any more, or writing fails.
            UsageError: the manifest cannot be read.
        """
        place = self.place(candidate)
        with self._locked():
            if candidate.fleeting and not place.exists():
                with atomic_write(place) as temporary:
                    temporary.write_bytes(candidate.path.read_bytes())
            self._write({**self.given(), place: label})

    def take_back(self, candidate: LabelCandidate) -> None:
        """Delete the label of a photo, and the copy of the photo.

        Raises:
            OSError: writing fails.
            UsageError: the manifest cannot be read.
        """
        place = self.place(candidate)
        with self._locked():
            given = self.given()
            given.pop(place, None)
            self._write(given)
            if candidate.fleeting:
                place.unlink(missing_ok=True)

    def _write(self, given: Mapping[Path, str]) -> None:
        rows = [{"path": self._told(path), "label": label} for path, label in given.items()]
        write_label_table(self.path, _LABEL_COLUMNS, rows)
        if self._data:
            write_label_table(self._folder / MERGED_FILE, self._columns, self._merged(given))

    def _merged(self, given: Mapping[Path, str]) -> Iterator[Row]:
        left = dict(given)
        for row in self._data:
            path = Path(row["path"])
            yield {**row, "path": self._told(path), "label": left.pop(path, row["label"])}
        for path, label in left.items():
            yield {"path": self._told(path), "label": label}

    def _told(self, path: Path) -> str:
        inside = path.is_relative_to(self._folder)
        return (path.relative_to(self._folder) if inside else path).as_posix()

    def _locked(self) -> AbstractContextManager[None]:
        return file_lock(self._folder / f".{self.path.name}.lock")


def _read_dataset(data: Path) -> tuple[tuple[str, ...], list[Row]]:
    rows = read_label_table(data, _LABEL_COLUMNS)
    return tuple(rows[0]) if rows else _LABEL_COLUMNS, rows
