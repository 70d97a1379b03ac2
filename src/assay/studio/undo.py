"""The edits of labels that can be undone: a bounded stack, with a file for each edit, so that it survives a restart."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from assay.core.files import read_text, temporary_file
from assay.studio.photos import Photo

MAX_EDITS: Final = 200
MAX_PHOTOS: Final = 500_000
"""Of all edits together; the oldest edits are forgotten first."""
_FORMAT: Final = 1
_MAX_CHARS: Final = 64 << 20


class PhotoLabel(NamedTuple):
    """What an edit changes of a photo."""

    label: str | None
    left_out: bool

    @classmethod
    def of(cls, photo: Photo) -> "PhotoLabel":
        """Return the present state of a photo."""
        return cls(photo.label, photo.left_out)


@dataclass(frozen=True)
class Edit:
    """An edit.

    Attributes:
        description: what was done.
        classes: before the edit.
        before: state of the changed photos before it, by id.
        after: state of the same photos after it. A photo whose state is another one, because another program changed
            the labels, is not restored.
    """

    description: str
    classes: tuple[str, ...]
    before: Mapping[str, PhotoLabel]
    after: Mapping[str, PhotoLabel]

    def to_restore(self, photos: Mapping[str, Photo]) -> Iterable[tuple[Photo, PhotoLabel]]:
        """Return the photos that are still as the edit left them, and their state before it."""
        for key, state in self.before.items():
            photo = photos.get(key)
            if photo is not None and PhotoLabel.of(photo) == self.after[key]:
                yield photo, state


class UndoStack:
    """The last edits, oldest first, in the files `1.json`, `2.json`, ... of a folder.

    A file that cannot be written or read costs that edit and those before it, never the labels.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._edits: list[tuple[int, Edit]] = []
        names = (path.stem for path in folder.glob("*.json"))
        for number in sorted((int(name) for name in names if name.isascii() and name.isdecimal()), reverse=True):
            edit = _read(self._path(number))
            if edit is None:
                break
            self._edits.insert(0, (number, edit))
        self._forget_oldest()

    @property
    def last(self) -> Edit | None:
        """The edit that would be undone."""
        return self._edits[-1][1] if self._edits else None

    def push(self, edit: Edit) -> None:
        """Add an edit that was made."""
        number = self._edits[-1][0] + 1 if self._edits else 1
        self._edits.append((number, edit))
        self._forget_oldest()
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            # Not synced to the disk, unlike the labels: after a power failure, at most this history is lost.
            with temporary_file(self._path(number)) as temporary:
                temporary.write_text(json.dumps(_to_json(edit), ensure_ascii=True), encoding="utf-8")
                temporary.replace(self._path(number))

    def pop(self) -> None:
        """Remove the last edit, which was undone."""
        number, _ = self._edits.pop()
        self._remove(number)

    def _forget_oldest(self) -> None:
        while len(self._edits) > MAX_EDITS or sum(len(edit.before) for _, edit in self._edits[:-1]) > MAX_PHOTOS:
            self._remove(self._edits.pop(0)[0])

    def _remove(self, number: int) -> None:
        with suppress(OSError):
            self._path(number).unlink()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.json"


def _to_json(edit: Edit) -> dict[str, Any]:
    photos = {key: [*edit.before[key], *edit.after[key]] for key in edit.before}
    return {"format": _FORMAT, "description": edit.description, "classes": edit.classes, "photos": photos}


def _read(path: Path) -> Edit | None:
    try:
        values = json.loads(read_text(path, _MAX_CHARS))
        if values["format"] != _FORMAT:
            return None
        photos = {str(key): tuple(state) for key, state in values["photos"].items()}
        if not all(_is_state(state[:2]) and _is_state(state[2:]) for state in photos.values()):
            return None
        return Edit(
            str(values["description"]),
            tuple(map(str, values["classes"])),
            {key: PhotoLabel(*state[:2]) for key, state in photos.items()},
            {key: PhotoLabel(*state[2:]) for key, state in photos.items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _is_state(state: tuple[object, ...]) -> bool:
    match state:
        case (str() | None, bool()):
            return True
        case _:
            return False
