"""The edits of labels and classes, as functions of the present state that return what changes."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.core.errors import UsageError
from assay.core.text_layout import counted
from assay.studio.errors import StaleEditError
from assay.studio.labels import check_class_name, normalize_class_name
from assay.studio.photos import Photo
from assay.studio.undo import Edit, PhotoLabel

ADDED_FOLDER: Final = "photos"
"""Folder of the photos that are uploaded or taken."""
CAMERA_FOLDER: Final = "camera"
SERVER_FOLDER: Final = "from-server"
VIDEO_FOLDER: Final = "videos"
_UNNAMED: Final = frozenset((ADDED_FOLDER, name) for name in (CAMERA_FOLDER, SERVER_FOLDER, VIDEO_FOLDER))
"""Folders of the studio, whose names and subfolders are no classes."""


@dataclass(frozen=True)
class Change:
    """What an edit changes.

    Attributes:
        description: what was done, as the button that undoes it says.
        photos: new state of the photos that change, by id.
        classes: after the edit.
    """

    description: str
    photos: Mapping[str, PhotoLabel]
    classes: Sequence[str]


Plan = Callable[[Mapping[str, Photo], Sequence[str]], Change]
"""Returns the change for the present photos, by id, and classes; raises `AssayError` if the edit is refused."""


def set_label(ids: Iterable[str], label: str | None, seen: int) -> Plan:
    """Return the edit that sets the class of photos, or with None removes it; see `Project.label`."""

    def plan(photos: Mapping[str, Photo], classes: Sequence[str]) -> Change:
        name = None if label is None else known_or_new(label, classes)
        new = PhotoLabel(name, left_out=False)
        changed = [
            photo
            for photo in _unchanged(ids, photos, seen)
            if photo.label != name or (photo.left_out and name is not None)
        ]
        what = f"Removed the label of {_count(changed)}" if name is None else f"Labelled {_count(changed)} {name}"
        states = {photo.id: new if name is not None else PhotoLabel(None, photo.left_out) for photo in changed}
        return Change(what, states, with_used(classes, [] if name is None or not changed else [name]))

    return plan


def set_left_out(ids: Iterable[str], seen: int, *, out: bool) -> Plan:
    """Return the edit that excludes photos from training, or includes them again."""

    def plan(photos: Mapping[str, Photo], classes: Sequence[str]) -> Change:
        changed = [photo for photo in _unchanged(ids, photos, seen) if photo.left_out != out]
        states = {photo.id: PhotoLabel(photo.label, out) for photo in changed}
        return Change(f"{'Left out' if out else 'Restored'} {_count(changed)}", states, classes)

    return plan


def create_class(name: str) -> Plan:
    """Return the edit that adds a class without photos."""

    def plan(_: Mapping[str, Photo], classes: Sequence[str]) -> Change:
        known = check_class_name(name, classes)
        return Change(f"Created the class {known}", {}, [*classes, known])

    return plan


def rename_class(old: str, new: str) -> Plan:
    """Return the edit that renames a class, or merges it with the existing class `new`."""

    def plan(photos: Mapping[str, Photo], classes: Sequence[str]) -> Change:
        _require_class(old, classes)
        name = new if new in classes else check_class_name(new, (other for other in classes if other != old))
        if name == old:
            return Change("", {}, classes)
        what = f"{'Merged' if name in classes else 'Renamed'} {old} to {name}"
        after = [other for other in classes if other != old] if name in classes else _replaced(classes, old, name)
        return Change(what, _relabelled(photos, old, name), after)

    return plan


def delete_class(name: str) -> Plan:
    """Return the edit that removes a class; its photos are then unlabelled."""

    def plan(photos: Mapping[str, Photo], classes: Sequence[str]) -> Change:
        _require_class(name, classes)
        after = [other for other in classes if other != name]
        return Change(f"Deleted the class {name}", _relabelled(photos, name, None), after)

    return plan


def label_by_folder(photos: Mapping[str, Photo], classes: Sequence[str]) -> Change:
    """Give every unlabelled photo the name of its folder as label."""
    known = {name.casefold(): name for name in classes}
    states: dict[str, PhotoLabel] = {}
    for photo in photos.values():
        if (folder := folder_label(photo)) is not None:
            states[photo.id] = PhotoLabel(known.setdefault(folder.casefold(), folder), left_out=False)
    return Change(f"Labelled {_count(states)} by folder", states, with_used(classes, known.values()))


def undo(edit: Edit) -> Plan:
    """Return the edit that restores the state before another one; photos that changed since are kept."""

    def plan(photos: Mapping[str, Photo], _: Sequence[str]) -> Change:
        states = {photo.id: state for photo, state in edit.to_restore(photos)}
        labels = (states.get(photo.id, photo).label for photo in photos.values())
        return Change(edit.description, states, with_used(edit.classes, labels))

    return plan


def known_or_new(label: str, classes: Collection[str]) -> str:
    """Return a class, or the normalized name of a new one; `UsageError` if that is invalid."""
    return label if label in classes else check_class_name(label, classes)


def folder_label(photo: Photo) -> str | None:
    """Return the class that the folder of an unlabelled photo names.

    None if the photo needs no label, was added without a folder, or lies in the project's folder itself.
    """
    parts = Path(photo.name).parent.parts
    if photo.label is not None or photo.left_out or parts in {(), (ADDED_FOLDER,)} or parts[:2] in _UNNAMED:
        return None
    return normalize_class_name(parts[-1])


def with_used(classes: Sequence[str], labels: Iterable[str | None]) -> list[str]:
    """Return the classes, followed by labels that are not among them."""
    return list(dict.fromkeys([*classes, *(label for label in labels if label is not None)]))


def _unchanged(ids: Iterable[str], photos: Mapping[str, Photo], seen: int) -> list[Photo]:
    found = [photos[photo] for photo in dict.fromkeys(ids) if photo in photos]
    if any(photo.revision > seen for photo in found):
        raise StaleEditError("These photos were changed in another window; look at them again")
    return found


def _require_class(name: str, classes: Sequence[str]) -> None:
    if name not in classes:
        raise UsageError(f"There is no class {name}")


def _replaced(classes: Sequence[str], old: str, new: str) -> list[str]:
    return [new if name == old else name for name in classes]


def _relabelled(photos: Mapping[str, Photo], old: str, new: str | None) -> dict[str, PhotoLabel]:
    return {photo.id: PhotoLabel(new, photo.left_out) for photo in photos.values() if photo.label == old}


def _count(photos: Collection[object]) -> str:
    return counted(len(photos), "photo")
