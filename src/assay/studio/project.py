"""A project: a folder whose photos are labelled, with edits that can be undone and a revision that counts them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from assay.core.errors import AssayError, UsageError
from assay.image.ignore_rules import SkippedFiles
from assay.studio.labels import LABELS_FILE, PROJECT_FILE, LabelFile, ProjectFile, check_class_name
from assay.studio.photos import Photo, list_photos, new_photo
from assay.studio.undo import Edit, PhotoLabel, UndoStack

STATE_FOLDER: Final = ".studio"
"""Hidden folder of a project: jobs, thumbnails, the address of the server."""
ADDED_FOLDER: Final = "photos"
"""Folder of the photos that are uploaded or taken."""
_UNDO_FOLDER: Final = "undo"


class StaleEditError(AssayError):
    """A photo has changed since the page last read it."""


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
            AssayError: the folder, `labels.csv` or `project.json` cannot be read.
        """
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
            UsageError: there is none.
        """
        found = self.photos.get(photo)
        if found is None:
            raise UsageError("This photo is not there any more")
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
            changed = [
                photo for photo in self.photos.values() if not photo.left_out and photo.label != labels.get(photo.name)
            ]
            self.revision += 1
            for photo in changed:
                photo.label, photo.revision = labels.get(photo.name), self.revision
            self.classes = _with_used(self.classes, self.photos.values())
        self._notify()

    def rescan(self) -> int:
        """List the photos again and return the number of new ones; photos that are gone are dropped.

        Raises:
            AssayError: the folder cannot be read.
        """
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
                elif known.version != photo.version:
                    known.version, known.revision = photo.version, self.revision + 1
                fresh[photo.id] = known or photo
            gone = self.photos.keys() - fresh.keys()
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
        with self._lock:
            if label is not None and label not in self.classes:
                label = check_class_name(label, self.classes)
            chosen = self._fresh(photos, seen)
            changed = [photo for photo in chosen if photo.label != label or (photo.left_out and label is not None)]
            what = f"Removed the label of {_count(changed)}" if label is None else f"Labelled {_count(changed)} {label}"
            with self._edit(what, changed):
                if changed and label is not None and label not in self.classes:
                    self.classes.append(label)
                for photo in changed:
                    photo.label = label
                    if label is not None:
                        photo.left_out = False
            return len(changed)

    def leave_out(self, photos: Iterable[str], seen: int, *, out: bool = True) -> int:
        """Exclude photos from training, or with `out=False` include them again; arguments as for `label`."""
        with self._lock:
            changed = [photo for photo in self._fresh(photos, seen) if photo.left_out != out]
            with self._edit(f"{'Left out' if out else 'Restored'} {_count(changed)}", changed):
                for photo in changed:
                    photo.left_out = out
            return len(changed)

    def create_class(self, name: str) -> str:
        """Add a class without photos; return its name. `UsageError` if the name is invalid."""
        with self._lock:
            self.refresh()
            known = check_class_name(name, self.classes)
            with self._edit(f"Created the class {known}", [], force=True):
                self.classes.append(known)
        return known

    def rename_class(self, old: str, new: str) -> str:
        """Rename a class; the name of an existing class merges the two. Return the new name.

        Raises:
            UsageError: there is no class `old`, or `new` is invalid.
        """
        with self._lock:
            self._require_class(old)
            if new not in self.classes:
                new = check_class_name(new, (name for name in self.classes if name != old))
            if new == old:
                return new
            merged = new in self.classes
            members = [photo for photo in self.photos.values() if photo.label == old]
            with self._edit(f"{'Merged' if merged else 'Renamed'} {old} to {new}", members, force=True):
                place = self.classes.index(old)
                if merged:
                    self.classes.pop(place)
                else:
                    self.classes[place] = new
                for photo in members:
                    photo.label = new
        return new

    def delete_class(self, name: str) -> None:
        """Remove a class; its photos are then unlabelled. `UsageError` if there is none."""
        with self._lock:
            self._require_class(name)
            members = [photo for photo in self.photos.values() if photo.label == name]
            with self._edit(f"Deleted the class {name}", members, force=True):
                self.classes.remove(name)
                for photo in members:
                    photo.label = None

    def label_by_folder(self) -> int:
        """Give every unlabelled photo the name of its folder as label; return how many there were."""
        with self._lock:
            self.refresh()
            places = {
                photo.id: place
                for photo in self.photos.values()
                if photo.label is None and not photo.left_out and (place := _folder_label(photo)) is not None
            }
            known = {name.casefold(): name for name in self.classes}
            new: list[str] = []
            for place in dict.fromkeys(places.values()):
                if place.casefold() not in known:
                    known[place.casefold()] = check_class_name(place, known.values())
                    new.append(known[place.casefold()])
            changed = [self.photos[photo] for photo in places]
            with self._edit(f"Labelled {_count(changed)} by folder", changed):
                self.classes.extend(new)
                for photo in changed:
                    photo.label = known[places[photo.id].casefold()]
            return len(changed)

    @property
    def labels_in_folders(self) -> int:
        """How many unlabelled photos lie in folders that may name their classes."""
        with self._lock:
            return sum(
                1
                for photo in self.photos.values()
                if photo.label is None and not photo.left_out and _folder_label(photo) is not None
            )

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
            self._write()
        return self.rescan()

    def undo(self) -> str | None:
        """Undo the last edit and return its description; None if there is none."""
        with self._lock:
            self.refresh()
            edit = self._undo.last
            if edit is None:
                return None
            restored = [(photo, PhotoLabel.of(photo), state) for photo, state in edit.to_restore(self.photos)]
            classes = self.classes
            for photo, _, state in restored:
                photo.label, photo.left_out = state
            self.classes = _with_used(edit.classes, self.photos.values())
            try:
                self._write()
            except OSError:
                for photo, now, _ in restored:
                    photo.label, photo.left_out = now
                self.classes = classes
                raise
            self._undo.pop()
            self.revision += 1
            for photo, _, _ in restored:
                photo.revision = self.revision
        self._notify()
        return edit.description

    def _fresh(self, photos: Iterable[str], seen: int) -> list[Photo]:
        self.refresh()
        found = [self.photos[photo] for photo in dict.fromkeys(photos) if photo in self.photos]
        if any(photo.revision > seen for photo in found):
            raise StaleEditError("These photos were changed in another window; look at them again")
        return found

    def _require_class(self, name: str) -> None:
        self.refresh()
        if name not in self.classes:
            raise UsageError(f"There is no class {name}")

    @contextmanager
    def _edit(self, description: str, photos: Sequence[Photo], *, force: bool = False) -> Iterator[None]:
        """Write the edit of the block, or restore the state before if it cannot be written.

        Without photos nothing is written, except with `force`, for edits of classes.
        """
        before = {photo.id: PhotoLabel.of(photo) for photo in photos}
        classes = tuple(self.classes)
        yield
        if not (photos or force):
            return
        try:
            self._write()
        except OSError:
            for photo in photos:
                photo.label, photo.left_out = before[photo.id]
            self.classes = list(classes)
            raise
        self.revision += 1
        for photo in photos:
            photo.revision = self.revision
        self._undo.push(Edit(description, classes, before, {photo.id: PhotoLabel.of(photo) for photo in photos}))
        self._notify()

    def _load(self) -> None:
        self._file = ProjectFile.read(self.folder / PROJECT_FILE)
        labels = self._labels.read()
        self.rescan()
        for photo in self.photos.values():
            if photo.name in self._file.left_out:
                photo.left_out = True
                photo.label = self._file.left_out[photo.name] or None
            else:
                photo.label = labels.get(photo.name)
        self.classes = _with_used(self._file.classes, self.photos.values())

    def _write(self) -> None:
        self._file.classes = list(self.classes)
        # Labels of photos that are not there at the moment, such as on a drive that is not connected, are kept.
        left_out = {name: label for name, label in self._file.left_out.items() if not (self.folder / name).exists()}
        left_out |= {photo.name: photo.label or "" for photo in self.photos.values() if photo.left_out}
        self._file.left_out = left_out
        self._labels.write(self.photos.values())
        self._file.write(self.folder / PROJECT_FILE)

    def _notify(self) -> None:
        for listener in self.listeners:
            with suppress(RuntimeError):  # the event loop has been closed
                listener()


def _with_used(classes: Sequence[str], photos: Iterable[Photo]) -> list[str]:
    """Return the classes, followed by those of photos that are not among them."""
    return list(dict.fromkeys([*classes, *(photo.label for photo in photos if photo.label is not None)]))


def _folder_label(photo: Photo) -> str | None:
    """Return the name of the folder of a photo, unless it lies in the project itself or was added by the studio."""
    place = Path(photo.name).parent
    if not place.parts or place.parts[0] == ADDED_FOLDER:
        return None
    return place.name or None


def _count(photos: Sequence[Photo]) -> str:
    return f"{len(photos):,} photo" + ("" if len(photos) == 1 else "s")
