"""The files of a project's labels: `labels.csv`, a manifest that every command reads, and `project.json`."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from assay.core.errors import AssayError, UsageError
from assay.core.files import read_json_state
from assay.core.label_tables import Row, read_label_table, write_label_table
from assay.core.printable_text import printable, strip_invisible
from assay.core.tables import write_json
from assay.studio.photos import Photo, photo_name

LABELS_FILE: Final = "labels.csv"
PROJECT_FILE: Final = "project.json"
MAX_CLASS_NAME: Final = 100
"""Characters of a class name."""

_FORMAT: Final = 1
_CONTROLS: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS: Final = frozenset("\u200c\u200d")
"""Zero-width characters that words of some languages and emoji need."""
_NEEDED: Final = ("path", "label")
_COLUMNS: Final = ("id", "path", "label", "split")
"""With these first columns, readers of manifests take every value literally."""


@dataclass
class ProjectFile:
    """The content of `project.json`.

    Attributes:
        classes: names in the order of the page; also those without photos.
        left_out: label (empty: none) of the photos that are not used for training, by name.
        sources: folders outside the project whose photos belong to it, absolute.
    """

    classes: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "ProjectFile":
        """Read the file; empty if it is missing.

        Raises:
            AssayError: it is damaged, or from a later version.
        """
        if not path.exists():
            return cls()
        state = read_json_state(path, {"format": int, "classes": list, "left_out": dict, "sources": list})
        if state is None or not all(isinstance(value, str) for value in state["left_out"].values()):
            raise AssayError(f"{path} is damaged: correct it, or delete it (the labels in {LABELS_FILE} are kept)")
        if state["format"] != _FORMAT:
            raise AssayError(f"{path} was written by a later version of Assay: update Assay")
        return cls(state["classes"], state["left_out"], state["sources"])

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        values: dict[str, Any] = {
            "format": _FORMAT,
            "classes": self.classes,
            "left_out": self.left_out,
            "sources": self.sources,
        }
        write_json(path, values)


class LabelFile:
    """`labels.csv`; its other columns (such as `split` or `group`) are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: tuple[str, ...] = _COLUMNS
        self._rows: dict[str, Row] = {}
        self._known: tuple[int, int, int] | None = None

    @property
    def changed(self) -> bool:
        """Whether another program has written or removed the file since it was read or written here."""
        return self._state() != self._known

    def read(self) -> dict[str, str]:
        """Return the labels by the names of photos; empty if the file is missing.

        Raises:
            UsageError: it is no manifest.
        """
        known = self._state()
        if known is None:
            return {}
        rows = read_label_table(self.path, _NEEDED)
        self._known = known
        if rows:
            self._columns = (*_COLUMNS, *(name for name in rows[0] if name not in _COLUMNS))
        folder = self.path.parent
        self._rows = {photo_name(Path(row["path"]), folder): row for row in rows}
        return {name: label for name in self._rows if (label := self.label(name)) is not None}

    def label(self, name: str) -> str | None:
        """Return the label of a photo in the file, as it was last read or written; None if it has none."""
        row = self._rows.get(name)
        return None if row is None else normalize_class_name(row["label"])

    def write(self, photos: Iterable[Photo]) -> None:
        """Write the photos that have a label and are not left out, and the rows of those that are not listed now."""
        lines = list(self._lines(photos))
        write_label_table(self.path, self._columns, lines)
        self._rows = {line["id"]: dict(line) for line in lines}
        self._known = self._state()

    def _state(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _lines(self, photos: Iterable[Photo]) -> Iterable[Mapping[str, str]]:
        names = set()
        for photo in photos:
            names.add(photo.name)
            if (label := photo.training_label) is not None:
                yield {**self._rows.get(photo.name, {}), "id": photo.name, "path": photo.name, "label": label}
        for name, row in self._rows.items():
            if name not in names and may_return(self.path.parent / name):
                yield {**row, "id": name, "path": name}


def may_return(photo: Path) -> bool:
    """Whether what is known about a photo that is not listed is kept.

    It is kept if another program has just added the photo, or if its folder is away at the moment (a drive that is not
    connected), and not if the photo was deleted.
    """
    return _exists(photo) or not _exists(photo.parent)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # such as a name that is too long
        return False


def normalize_class_name(name: str) -> str | None:
    """Return a class name as manifests hold it; None if nothing is left of it."""
    return unicodedata.normalize("NFC", name.strip()) or None


def check_class_name(name: str, existing: Iterable[str]) -> str:
    """Return the normalized name of a new class; names that folders and files give are not checked.

    Raises:
        UsageError: it is empty, too long, has control characters (also those that change the direction of text), or
            differs from another class only in case.
    """
    known = normalize_class_name(name)
    if known is None or not strip_invisible(known).strip():
        raise UsageError("A class needs a name")
    if len(known) > MAX_CLASS_NAME:
        raise UsageError(f"A class name has at most {MAX_CLASS_NAME} characters; this one has {len(known):,}")
    if (control := next(filter(_is_control, known), None)) is not None:
        raise UsageError(f"A class name must not contain invisible control characters such as {printable(control)}")
    for other in existing:
        if other.casefold() == known.casefold():
            raise UsageError(f"There is a class {other} already")
    return known


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in _CONTROLS and letter not in _JOINERS
