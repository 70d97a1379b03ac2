"""A project: a folder whose photos are labelled, with edits that can be undone and a revision that counts them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from assay.core.errors import UsageError
from assay.image.ignore_rules import SkippedFiles
from assay.studio import label_edits
from assay.studio.errors import NotFoundError
from assay.studio.label_edits import Plan, with_used
from assay.studio.labels import LABELS_FILE, PROJECT_FILE, LabelFile, ProjectFile, may_return
from assay.studio.photos import Photo, list_photos, new_photo
from assay.studio.system_folders import check_project_folder
from assay.studio.undo import Edit, PhotoLabel, UndoStack

STATE_FOLDER: Final = ".studio"
"""Hidden folder of a project: jobs, thumbnails, the address of the server."""
_UNDO_FOLDER: Final = "undo"


class Counts(NamedTuple):
    """How many photos a project has."""

    total: int
    unlabelled: int
    left_out: int
    classes: dict[str, int]
    """Photos used for training, by class."""


@dataclass
class Project:
    """The photos, classes and labels of a folder. Thread-safe.

    Every edit is written to `labels.csv` and `project.json` before it returns, and gets the next `revision`.
    """

    folder: Path
    revision: int = 0
    photos: dict[str, Photo] = field(default_factory=dict)
    """By id, in the order of the grid."""
    classes: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    """Files that are not shown, by reason."""
    listeners: list[Callable[[], None]] = field(default_factory=list)
    """Called after every change, from the thread of the edit."""

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self._lock = threading.RLock()
        self._undo = UndoStack(self.state_folder / _UNDO_FOLDER)
        self._labels = LabelFile(self.folder / LABELS_FILE)
        self._file = ProjectFile()

    @classmethod
    def open(cls, folder: Path) -> "Project":
        """Open a folder, which is created if it is missing, and list its photos.

        Raises:
            AssayError: the folder, `labels.csv` or `project.json` cannot be read, or it is one of the operating system.
        """
        check_project_folder(folder)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file: give a folder")
        folder.mkdir(parents=True, exist_ok=True)
        project = cls(folder)
        project._load()
        return project

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.name or str(self.folder)

    @property
    def labels_path(self) -> Path:
        """The manifest of the labelled photos."""
        return self._labels.path

    @property
    def state_folder(self) -> Path:
        """The hidden folder for what is not part of the project's results."""
        return self.folder / STATE_FOLDER

    @property
    def last_edit(self) -> str | None:
        """What `undo` would undo."""
        return None if self._undo.last is None else self._undo.last.description

    def path(self, photo: Photo) -> Path:
        """Return the file of a photo."""
        return self.folder / photo.name

    def find(self, photo: str) -> Photo:
        """Return a photo by its id.

        Raises:
            NotFoundError: there is none.
        """
        found = self.photos.get(photo)
        if found is None:
            raise NotFoundError("This photo is not there any more")
        return found

    def by_name(self) -> dict[str, Photo]:
        """Return the photos by name."""
        with self._lock:
            return {photo.name: photo for photo in self.photos.values()}

    def counts(self) -> Counts:
        """Count the photos."""
        with self._lock:
            labels = Counter(photo.training_label for photo in self.photos.values())
            left_out = sum(photo.left_out for photo in self.photos.values())
        by_class = {name: labels[name] for name in self.classes}
        return Counts(len(self.photos), labels[None] - left_out, left_out, by_class)

    def changed_since(self, revision: int) -> list[Photo]:
        """Return the photos that changed after a revision."""
        with self._lock:
            return [photo for photo in self.photos.values() if photo.revision > revision]

    def refresh(self) -> None:
        """Take over what another program has written to `labels.csv`; write the file again if it is gone.

        Raises:
            AssayError: the file is damaged, or cannot be read.
        """
        with self._lock:
            if not self._labels.changed:
                return
            if not self.labels_path.exists():
                self._labels.write(self.photos.values())
                return
            labels = self._labels.read()
            # The studio writes no row for a photo that is left out: another program uses it again.
            changed = [
                photo
                for photo in self.photos.values()
                if (photo.name in labels if photo.left_out else photo.label != labels.get(photo.name))
            ]
            self.revision += 1
            for photo in changed:
                photo.label, photo.left_out, photo.revision = labels.get(photo.name), False, self.revision
            self.classes = with_used(self.classes, (photo.label for photo in self.photos.values()))
        self._notify()

    def rescan(self) -> int:
        """List the photos again and return the number of new ones; photos that are gone are dropped.

        Raises:
            AssayError: the folder cannot be read.
        """
        if self._labels.changed and self.labels_path.exists():
            self.refresh()
        skipped = SkippedFiles()
        listed = list(list_photos(self.folder, map(Path, self._file.sources), skipped))
        with self._lock:
            fresh: dict[str, Photo] = {}
            new = 0
            for photo in listed:
                known = self.photos.get(photo.id)
                if known is None:
                    new += 1
                    photo.revision = self.revision + 1
                    self._restore(photo)
                elif known.version != photo.version:
                    known.version, known.revision = photo.version, self.revision + 1
                fresh[photo.id] = known or photo
            gone = self.photos.keys() - fresh.keys()
            self.classes = with_used(self.classes, (photo.label for photo in fresh.values()))
            changed = bool(new or gone) or any(photo.revision > self.revision for photo in fresh.values())
            self.photos = fresh
            self.skipped = dict(skipped.counts)
            if changed:
                self.revision += 1
        if changed:
            self._notify()
        return new

    def add_file(self, path: Path) -> Photo:
        """Add a file of the project's folder that was just written, without listing the folder again."""
        photo = new_photo(path, self.folder)
        with self._lock:
            known = self.photos.get(photo.id)
            if known is not None and known.version == photo.version:
                return known
            self.revision += 1
            if known is None:
                self.photos[photo.id] = known = photo
            known.version, known.revision = photo.version, self.revision
        self._notify()
        return known

    def label(self, photos: Iterable[str], label: str | None, seen: int) -> int:
        """Set the class of photos; None removes it. A new class is created.

        Args:
            photos: ids; those that are gone are ignored.
            label: of the class.
            seen: revision of the page that made the edit.

        Returns:
            The number of photos that changed.

        Raises:
            StaleEditError: one of the photos has changed since.
            UsageError: the class has an invalid name.
        """
        return self._edit(label_edits.set_label(photos, label, seen))

    def check_label(self, label: str) -> str:
        """Return the class that `label` would set. `UsageError` if it is a new one with an invalid name."""
        with self._lock:
            return label_edits.known_or_new(label, self.classes)

    def leave_out(self, photos: Iterable[str], seen: int, *, out: bool = True) -> int:
        """Exclude photos from training, or with `out=False` include them again; arguments as for `label`."""
        return self._edit(label_edits.set_left_out(photos, seen, out=out))

    def create_class(self, name: str) -> None:
        """Add a class without photos. `UsageError` if the name is invalid."""
        self._edit(label_edits.create_class(name))

    def rename_class(self, old: str, new: str) -> None:
        """Rename a class; the name of an existing class merges the two.

        Raises:
            UsageError: there is no class `old`, or `new` is invalid.
        """
        self._edit(label_edits.rename_class(old, new))

    def delete_class(self, name: str) -> None:
        """Remove a class; its photos are then unlabelled. `UsageError` if there is none."""
        self._edit(label_edits.delete_class(name))

    def label_by_folder(self) -> int:
        """Give every unlabelled photo the name of its folder as label; return how many there were."""
        return self._edit(label_edits.label_by_folder)

    def undo(self) -> str | None:
        """Undo the last edit and return its description; None if there is none."""
        with self._lock:
            last = self._undo.last
            if last is None:
                return None
            self._edit(label_edits.undo(last), undoes=True)
            return last.description

    @property
    def labels_in_folders(self) -> int:
        """How many unlabelled photos lie in folders that may name their classes."""
        with self._lock:
            return sum(label_edits.folder_label(photo) is not None for photo in self.photos.values())

    @property
    def label_folders(self) -> int:
        """How many classes the folders of unlabelled photos may name."""
        with self._lock:
            labels = map(label_edits.folder_label, self.photos.values())
            return len({label.casefold() for label in labels if label is not None})

    def add_source(self, folder: str) -> int:
        """Add the photos of another folder, which stay where they are; return the number of new ones.

        Raises:
            UsageError: there is no such folder, or it belongs to the project already.
        """
        place = Path(folder).expanduser()
        if not folder.strip() or not place.is_absolute() or not place.is_dir():
            raise UsageError(f"There is no folder {folder}: give its whole path")
        place = place.resolve()
        if place.is_relative_to(self.folder) or str(place) in self._file.sources:
            raise UsageError(f"The photos in {place} belong to this project already")
        if self.folder.is_relative_to(place):
            raise UsageError(f"{place} contains this project: start the studio there instead")
        with self._lock:
            self.refresh()
            self._file.sources.append(str(place))
            try:
                self._write()
            except OSError:
                self._file.sources.pop()
                raise
        return self.rescan()

    def _edit(self, plan: Plan, *, undoes: bool = False) -> int:
        """Make an edit of labels or classes, of which every one goes through here, and return how many photos changed.

        What another program wrote is taken over first. The edit is written, then added to those that can be undone
        (or with `undoes`, the last of them is removed), then announced. An edit that changes nothing is none.

        Raises:
            AssayError: the edit is refused.
            OSError: it cannot be written; nothing has changed then.
        """
        with self._lock:
            self.refresh()
            change = plan(self.photos, self.classes)
            if not (change.photos or undoes or list(change.classes) != self.classes):
                return 0
            before = {photo: PhotoLabel.of(self.photos[photo]) for photo in change.photos}
            classes = tuple(self.classes)
            self._set(change.photos, change.classes)
            try:
                self._write()
            except OSError:
                self._set(before, classes)
                raise
            self.revision += 1
            for photo in change.photos:
                self.photos[photo].revision = self.revision
            if undoes:
                self._undo.pop()
            else:
                self._undo.push(Edit(change.description, classes, before, dict(change.photos)))
        self._notify()
        return len(change.photos)

    def _set(self, states: Mapping[str, PhotoLabel], classes: Sequence[str]) -> None:
        for photo, (label, left_out) in states.items():
            self.photos[photo].label, self.photos[photo].left_out = label, left_out
        self.classes = list(classes)

    def _load(self) -> None:
        self._file = ProjectFile.read(self.folder / PROJECT_FILE)
        self.classes = list(self._file.classes)
        self._labels.read()
        self.rescan()

    def _restore(self, photo: Photo) -> None:
        """Give a photo that is listed for the first time, or again, the state that the project's files hold."""
        photo.left_out = photo.name in self._file.left_out
        photo.label = self._file.left_out[photo.name] or None if photo.left_out else self._labels.label(photo.name)

    def _write(self) -> None:
        self._file.classes = list(self.classes)
        left_out = {
            name: label
            for name, label in self._file.left_out.items()
            if name not in self.photos and may_return(self.folder / name)
        }
        left_out |= {photo.name: photo.label or "" for photo in self.photos.values() if photo.left_out}
        self._file.left_out = left_out
        self._labels.write(self.photos.values())
        self._file.write(self.folder / PROJECT_FILE)

    def _notify(self) -> None:
        for listener in self.listeners:
            with suppress(RuntimeError):  # the event loop has been closed
                listener()
