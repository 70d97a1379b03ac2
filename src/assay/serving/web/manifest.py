"""Labels that people give, in a manifest that `assay train` takes; photos are never moved or changed.

`labels.csv` holds what people said and nothing else. Where the data set is known, `relabelled.csv` beside it
is that data set with those labels. Photos that the server may drop one day are copied into `photos/`. Workers
share the files. Knows nothing of HTTP.
"""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from assay.files import replacing
from assay.serving.web.candidates import Candidate
from assay.serving.web.tables import Row, read_table, write_table

LABELS, WHOLE, PHOTOS = "labels.csv", "relabelled.csv", "photos"
_COLUMNS = ("path", "label")


class Labels:
    """What people said of photos."""

    def __init__(self, path: Path, data: Path | None = None) -> None:
        """Name the files.

        Args:
            path: the manifest to write.
            data: manifest of the data set that the labels are given on top of.

        Raises:
            UsageError: a file that is there is no manifest.
        """
        self.path = path.absolute()
        self._folder = self.path.parent
        self._columns: tuple[str, ...] = _COLUMNS
        self._data: list[Row] = []
        if data is not None:
            self._columns, self._data = _whole(data.absolute())
        self.given()

    @property
    def whole(self) -> Path | None:
        """Manifest of the whole data set with the labels; none where it is not known."""
        return self._folder / WHOLE if self._data else None

    def given(self) -> dict[Path, str]:
        """Return the labels by where the photos are, absolute.

        Raises:
            UsageError: somebody has made something else of the manifest.
        """
        if not self.path.exists():
            return {}
        return {Path(row["path"]): row["label"] for row in read_table(self.path, _COLUMNS, own=True)}

    def place(self, candidate: Candidate) -> Path:
        """Return where the manifest finds a photo: its own place, or that of its copy."""
        return self._folder / PHOTOS / candidate.path.name if candidate.fleeting else candidate.path

    def give(self, candidate: Candidate, label: str) -> None:
        """Set the label of a photo.

        Raises:
            OSError: the photo is gone, or nothing can be written.
            UsageError: the manifest cannot be read.
        """
        place = self.place(candidate)
        with self._locked():
            if candidate.fleeting and not place.exists():
                with replacing(place) as temporary:
                    temporary.write_bytes(candidate.path.read_bytes())
            self._write({**self.given(), place: label})

    def take_back(self, candidate: Candidate) -> None:
        """Forget the label of a photo, and the copy that was made of it.

        Raises:
            OSError: nothing can be written.
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
        write_table(self.path, _COLUMNS, rows)
        if self._data:
            write_table(self._folder / WHOLE, self._columns, self._merged(given))

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

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f".{self.path.name}.lock").open("a", encoding="utf-8") as stream:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
            yield


def _whole(data: Path) -> tuple[tuple[str, ...], list[Row]]:
    """Return columns and rows of a manifest, paths absolute."""
    rows = read_table(data, _COLUMNS)
    return tuple(rows[0]) if rows else _COLUMNS, rows
