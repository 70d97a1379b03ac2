"""Store the labels given by users in a CSV manifest, and merge them into that of the data set."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from assay.core.files import atomic_write
from assay.core.label_tables import Row, read_label_table, write_label_table
from assay.core.locks import file_lock
from assay.serving.web.label_candidates import LabelCandidate

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
        self.labels()

    @property
    def merged_path(self) -> Path | None:
        """Manifest of the whole data set with the labels; None if the data set is unknown."""
        return self._folder / MERGED_FILE if self._data else None

    def labels(self) -> dict[Path, str]:
        """Return the labels by absolute path of the photo; raise `UsageError` if the manifest is invalid."""
        if not self.path.exists():
            return {}
        return {Path(row["path"]): row["label"] for row in read_label_table(self.path, _LABEL_COLUMNS, literal=True)}

    def photo_path(self, candidate: LabelCandidate) -> Path:
        """Return the path of a photo in the manifest: its own, or that of its copy."""
        return self._folder / PHOTOS_FOLDER / candidate.path.name if candidate.temporary else candidate.path

    def set_label(self, candidate: LabelCandidate, label: str) -> None:
        """Set the label of a photo.

        Raises:
            OSError: the photo does not exist any more, or writing fails.
            UsageError: the manifest cannot be read.
        """
        path = self.photo_path(candidate)
        with self._locked():
            if candidate.temporary and not path.exists():
                with atomic_write(path) as temporary:
                    temporary.write_bytes(candidate.path.read_bytes())
            self._write({**self.labels(), path: label})

    def delete_label(self, candidate: LabelCandidate) -> None:
        """Delete the label of a photo, and the copy of the photo.

        Raises:
            OSError: writing fails.
            UsageError: the manifest cannot be read.
        """
        path = self.photo_path(candidate)
        with self._locked():
            labels = self.labels()
            labels.pop(path, None)
            self._write(labels)
            if candidate.temporary:
                path.unlink(missing_ok=True)

    def _write(self, labels: Mapping[Path, str]) -> None:
        rows = [{"path": self._relative_path(path), "label": label} for path, label in labels.items()]
        write_label_table(self.path, _LABEL_COLUMNS, rows)
        if self._data:
            write_label_table(self._folder / MERGED_FILE, self._columns, self._merged(labels))

    def _merged(self, labels: Mapping[Path, str]) -> Iterator[Row]:
        left = dict(labels)
        for row in self._data:
            path = Path(row["path"])
            yield {**row, "path": self._relative_path(path), "label": left.pop(path, row["label"])}
        for path, label in left.items():
            yield {"path": self._relative_path(path), "label": label}

    def _relative_path(self, path: Path) -> str:
        inside = path.is_relative_to(self._folder)
        return (path.relative_to(self._folder) if inside else path).as_posix()

    def _locked(self) -> AbstractContextManager[None]:
        return file_lock(self._folder / f".{self.path.name}.lock")


def _read_dataset(data: Path) -> tuple[tuple[str, ...], list[Row]]:
    rows = read_label_table(data, _LABEL_COLUMNS)
    return tuple(rows[0]) if rows else _LABEL_COLUMNS, rows
