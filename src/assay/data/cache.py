"""What was computed of photos, kept on disk: preprocessed pixels, and their embeddings by a frozen backbone.

One file for each data set and way of computing; its name is the digests of the settings and of the photos'
contents, so nothing in it can be out of date. A data set with photos more or less finds those that it shares
with others in their files. Bounded: files used longest ago go first. Runs may share a
file; files are made and removed under a lock. Linux and macOS; elsewhere nothing is kept.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final, Literal

import cv2
import numpy as np
import PIL

from assay.data.slots import Slots, in_use, make_slots, read_places, slots_in, slots_size, slots_within
from assay.files import cache_folder
from assay.image import PIXELS_VERSION
from assay.recipe import PreprocessSpec

if sys.platform != "win32":
    import fcntl

_LOG = logging.getLogger("assay.data.cache")

_FORMAT: Final = 3
"""Part of every file's key: raise it when the same bytes and settings come to give other pixels."""

_KEY: Final = 40
"""Digits of a digest in a file's name: 160 bits tell all files apart."""

FREE_SHARE: Final = 0.2
"""Largest share of the free disk that a cache takes by default."""

_ELDERS: Final = 4
"""Files of other data sets that are looked into for photos, those used last."""

Kind = Literal["pixels", "embeddings"]


def clear(folder: Path | None = None) -> int:
    """Remove all kept pixels and embeddings; runs that use them go on with what they have open.

    Args:
        folder: of the caches; the usual one when None.

    Returns:
        The number of bytes given back.
    """
    given_back = 0
    for one in (PixelCache, EmbeddingCache):
        for path in _files((folder or cache_folder()) / one.kind):
            with contextlib.suppress(FileNotFoundError):
                given_back += _occupied(path)
                path.unlink()
    return given_back


class _ArrayCache:
    """The kept arrays of one data set, one for each photo, under any number of settings."""

    kind: ClassVar[Kind]
    """Folder and suffix of the files."""
    most_bytes: ClassVar[int]
    """Most that the files take by default."""

    def __init__(
        self, digests: Iterable[str | None], folder: Path | None = None, max_bytes: int | None = None
    ) -> None:
        """Name the photos; nothing is opened or made yet.

        Args:
            digests: SHA-256 of every photo's bytes, 64 hexadecimal digits each; repeated ones share a slot,
                None is left out.
            folder: of the caches; the usual one when None.
            max_bytes: most that all data sets together may take; by default a fifth of the free disk, and
                `most_bytes` at most. Counted is what the files may grow to. A file that a run has open is
                never removed.
        """
        self.folder = (folder or cache_folder()) / self.kind
        self.max_bytes = max_bytes
        self._digests = sorted({digest for digest in digests if digest})

    def _open(self, settings: Mapping[str, object], shape: tuple[int, ...], dtype: type[np.generic]) -> Slots:
        """Open or make the file for some settings.

        If there is too little room for all photos, the first ones get slots, here and whenever the file is
        opened again. If the disk or the system allows no cache, there are no slots and a warning is logged.
        """
        none = Slots(self.folder, {}, 0, shape, dtype)
        if sys.platform == "win32" or not self._digests:
            return none
        key = _key(settings)
        path = self.folder / f"{key}-{self._photos}.{self.kind}"
        slot_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _locked(self.folder / "lock"):
                count = self._make(path, slot_bytes)
                places = {digest: slot for slot, digest in enumerate(self._digests[:count])}
                others = {one: slots_in(one, slot_bytes) for one in self._others(key, path)}
                # Opened before the lock is let go, so that no other run removes them in between.
                elders = [
                    Slots(one, read_places(one, made), made, shape, dtype).opened()
                    for one, made in others.items()
                    if made
                ]
                return Slots(path, places, count, shape, dtype, elders=elders).opened()
        except OSError as error:
            _LOG.warning("%s are not kept in %s: %s", self.kind, self.folder, error.strerror or error)
            return none

    @cached_property
    def _photos(self) -> str:
        return hashlib.sha256(b"".join(map(bytes.fromhex, self._digests))).hexdigest()[:_KEY]

    def _others(self, key: str, path: Path) -> list[Path]:
        """Return the files of other data sets for the same settings, those used last first."""
        found = [one for one in self.folder.glob(f"{key}-*.{self.kind}") if one != path]
        return sorted(found, key=lambda one: -one.stat().st_mtime_ns)[:_ELDERS]

    def _make(self, path: Path, slot_bytes: int) -> int:
        """Make the file unless it is there, removing others for it; return the number of slots it has."""
        wanted = len(self._digests)
        if path.is_file():
            if 0 < (made := slots_in(path, slot_bytes)) <= wanted:
                os.utime(path)
                return made
            path.unlink()
        limit = _default_limit(self.folder, self.most_bytes) if self.max_bytes is None else self.max_bytes
        taken = _make_room(self.folder, limit - slots_size(wanted, slot_bytes))
        count = min(wanted, slots_within(limit - taken, slot_bytes))
        if slots_size(wanted, slot_bytes) <= limit - taken:
            count = wanted
        if count:
            make_slots(path, self._digests[:count], slot_bytes)
        return count


class PixelCache(_ArrayCache):
    """The kept pixels of one data set, under any number of preprocessings.

    Give it all photos of the data set, not one part: then training, validation and every fold share a file.
    """

    kind = "pixels"
    most_bytes = 32 << 30

    def open(self, spec: PreprocessSpec) -> Slots:
        """Open or make the file of squares, uint8 [S, S, 3], for one preprocessing.

        If there is too little room for all photos, the first ones get slots, here and whenever the file is
        opened again. If the disk or the system allows no cache, there are no slots and a warning is logged.
        """
        # Mean and std are applied inside the network: they do not change the pixels kept here.
        settings = spec.model_dump(mode="json", exclude={"mean", "std"})
        return self._open(settings, (spec.size, spec.size, 3), np.uint8)


class EmbeddingCache(_ArrayCache):
    """The kept embeddings of one data set, under any number of frozen backbones and changed views.

    Give it all photos of the data set, as for `PixelCache`.
    """

    kind = "embeddings"
    most_bytes = 8 << 30

    def open(self, settings: Mapping[str, object], width: int) -> Slots:
        """Open or make the file of embeddings, float32 [D], that some settings give; as for pixels.

        Args:
            settings: all that they depend on besides the photos, plain JSON.
            width: D.
        """
        return self._open(settings, (width,), np.float32)


def _key(settings: Mapping[str, object]) -> str:
    made = {**settings, "made by": [_FORMAT, PIXELS_VERSION, PIL.__version__, cv2.__version__]}
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:_KEY]


def _make_room(folder: Path, goal: int) -> int:
    """Remove files, longest unused first, until the rest may grow to `goal` bytes; return what it may."""
    files = _files(folder)
    promised = sum(path.stat().st_size for path in files)
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        if promised > goal and not in_use(path):
            promised -= path.stat().st_size
            path.unlink()
    return promised


def _default_limit(folder: Path, most: int) -> int:
    taken = sum(_occupied(path) for path in _files(folder))
    return min(most, int(FREE_SHARE * (shutil.disk_usage(folder).free + taken)))


def _files(folder: Path) -> list[Path]:
    """Return the files of slots, unfinished ones that a killed process left behind included."""
    return sorted(folder.glob(f"*.{folder.name}"))


def _occupied(path: Path) -> int:
    """Return the bytes that a file really takes, holes not counted."""
    return path.stat().st_blocks * 512


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
