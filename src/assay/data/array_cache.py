"""Disk caches of preprocessed pixels and of embeddings, and the image sequence that reads through them."""

import hashlib
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final, Literal

import cv2
import numpy as np
import PIL

from assay.core.errors import AssayError
from assay.core.files import cache_folder, delete_files, disk_bytes
from assay.core.locks import file_lock
from assay.data.array_store import (
    ArrayStore,
    count_slots,
    create_store_file,
    is_in_use,
    read_slot_index,
    slots_that_fit,
    store_file_size,
)
from assay.data.dataset import Sample
from assay.image import PIXELS_VERSION, DecodeError, Preprocess
from assay.recipe import PreprocessSpec

_LOG = logging.getLogger("assay.data.array_cache")

_FORMAT_VERSION: Final = 3
"""Part of every file's key; increment it when the same bytes and settings give different pixels."""

_KEY_DIGITS: Final = 40
"""Hexadecimal digits of the digest in a file's name (160 bits)."""

MAX_FREE_DISK_SHARE: Final = 0.2
"""Largest share of the free disk space that a cache takes by default."""

_MAX_FALLBACKS: Final = 4
"""Number of most recently used files of other data sets that are searched for images."""

CacheKind = Literal["pixels", "embeddings"]


def clear_array_caches(folder: Path | None = None) -> int:
    """Delete all cached pixels and embeddings (of the default folder if None) and return the bytes freed.

    Running processes keep using the files that they have open.
    """
    parent = folder or cache_folder()
    return sum(delete_files(_files(parent / cache.kind)) for cache in (PixelCache, EmbeddingCache))


class _ArrayCache:
    """Arrays of one data set, one per image, under any number of settings."""

    kind: ClassVar[CacheKind]
    """Folder and suffix of the files."""
    most_bytes: ClassVar[int]
    """Default limit on the size of the files."""

    def __init__(self, digests: Iterable[str | None], folder: Path | None = None, max_bytes: int | None = None) -> None:
        """Store the digests; no file is opened or created yet.

        `digests` are SHA-256 in hexadecimal, None for images that are not cached. `max_bytes` limits the total of all
        data sets, counting the size that files may grow to; by default a fifth of the free disk, at most `most_bytes`.
        Files in use are never removed.
        """
        self.folder = (folder or cache_folder()) / self.kind
        self.max_bytes = max_bytes
        self._digests = sorted({digest for digest in digests if digest})

    def _open(self, settings: Mapping[str, object], shape: tuple[int, ...], dtype: type[np.generic]) -> ArrayStore:
        """Open or create the file for some settings.

        If space is short, only the first images get slots; if no cache can be made, there are none and a warning is
        logged.
        """
        none = ArrayStore(self.folder, {}, 0, shape, dtype)
        if sys.platform == "win32" or not self._digests:
            return none
        key = _settings_key(settings)
        path = self.folder / f"{key}-{self._photos}.{self.kind}"
        slot_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with file_lock(self.folder / "lock"):
                count = self._make(path, slot_bytes)
                places = {digest: slot for slot, digest in enumerate(self._digests[:count])}
                others = {other: count_slots(other, slot_bytes) for other in self._others(key, path)}
                # Open them before the lock is released, so that no other run removes them in between.
                fallbacks = [
                    ArrayStore(other, read_slot_index(other, made), made, shape, dtype).opened()
                    for other, made in others.items()
                    if made
                ]
                return ArrayStore(path, places, count, shape, dtype, fallbacks=fallbacks).opened()
        except OSError as error:
            _LOG.warning("%s are not kept in %s: %s", self.kind, self.folder, error.strerror or error)
            return none

    @cached_property
    def _photos(self) -> str:
        return hashlib.sha256(b"".join(map(bytes.fromhex, self._digests))).hexdigest()[:_KEY_DIGITS]

    def _others(self, key: str, path: Path) -> list[Path]:
        found = [other for other in self.folder.glob(f"{key}-*.{self.kind}") if other != path]
        return sorted(found, key=lambda other: -other.stat().st_mtime_ns)[:_MAX_FALLBACKS]

    def _make(self, path: Path, slot_bytes: int) -> int:
        """Create the file unless it exists, evicting others; return its number of slots."""
        wanted = len(self._digests)
        if path.is_file():
            if 0 < (made := count_slots(path, slot_bytes)) <= wanted:
                os.utime(path)
                return made
            path.unlink()
        limit = _default_limit(self.folder, self.most_bytes) if self.max_bytes is None else self.max_bytes
        taken = _evict(self.folder, limit - store_file_size(wanted, slot_bytes))
        count = min(wanted, slots_that_fit(limit - taken, slot_bytes))
        if store_file_size(wanted, slot_bytes) <= limit - taken:
            count = wanted
        if count:
            create_store_file(path, self._digests[:count], slot_bytes)
        return count


class PixelCache(_ArrayCache):
    """Cached pixels of one data set, under any number of preprocessing settings.

    Pass all images of the data set, so that training, validation and all folds share a file.
    """

    kind = "pixels"
    most_bytes = 32 << 30

    def open(self, spec: PreprocessSpec) -> ArrayStore:
        """Open or create the file of squares, uint8 [S, S, 3], for one preprocessing.

        If space is short, only the first images get slots; if no cache can be made, there are none and a warning is
        logged.
        """
        # Mean and std are applied inside the network and do not change the cached pixels.
        settings = spec.model_dump(mode="json", exclude={"mean", "std"})
        return self._open(settings, (spec.size, spec.size, 3), np.uint8)


class EmbeddingCache(_ArrayCache):
    """Cached embeddings of one data set, under any number of frozen backbones and augmented views.

    Pass all images of the data set, as for `PixelCache`.
    """

    kind = "embeddings"
    most_bytes = 8 << 30

    def open(self, settings: Mapping[str, object], width: int) -> ArrayStore:
        """Open or create the file of embeddings, float32 [width].

        `settings` is everything that they depend on besides the images, as plain JSON.
        """
        return self._open(settings, (width,), np.float32)


def _settings_key(settings: Mapping[str, object]) -> str:
    made = {**settings, "made by": [_FORMAT_VERSION, PIXELS_VERSION, PIL.__version__, cv2.__version__]}
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:_KEY_DIGITS]


def _evict(folder: Path, goal: int) -> int:
    """Remove files, least recently used first, until the rest may grow to `goal` bytes; return their maximum size."""
    files = _files(folder)
    promised = sum(path.stat().st_size for path in files)
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        if promised > goal and not is_in_use(path):
            promised -= path.stat().st_size
            path.unlink()
    return promised


def _default_limit(folder: Path, most: int) -> int:
    taken = sum(disk_bytes(path) for path in _files(folder))
    return min(most, int(MAX_FREE_DISK_SHARE * (shutil.disk_usage(folder).free + taken)))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*.{folder.name}"))


class PreprocessedImages:
    """Preprocessed pixels of samples, by position. May be pickled, or forked into loader processes."""

    def __init__(self, samples: Sequence[Sample], preprocess: Preprocess, cache: PixelCache | None = None) -> None:
        """Open the cache but no image; samples without a digest are never cached."""
        self.samples = tuple(samples)
        self.preprocess = preprocess
        self._slots = cache.open(preprocess.spec) if cache else None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the pixels of one image, uint8 [S, S, 3]; the array may be modified.

        Raises:
            IndexError: no such position.
            AssayError: the image is missing or can no longer be decoded.
        """
        sample = self.samples[index]
        if self._slots is not None and sample.digest is not None:
            kept = self._slots.get(sample.digest)
            if kept is not None:
                # A copy is writable and does not keep the cache's file open.
                return kept.copy()
        return self._decode(sample)

    def is_cached(self, index: int) -> bool:
        """Whether the cache has the pixels of the image as it was scanned."""
        digest = self.samples[index].digest
        return self._slots is not None and digest is not None and self._slots.get(digest) is not None

    def _decode(self, sample: Sample) -> np.ndarray:
        data = _read_bytes(sample)
        try:
            pixels = self.preprocess.read(data)
        except DecodeError as error:
            raise AssayError(f"{sample.path} can no longer be read as a photo: {error}") from None
        # A file that was replaced since it was verified must not be cached under its old digest.
        if (
            self._slots is not None
            and sample.digest in self._slots
            and sample.digest == hashlib.sha256(data).hexdigest()
        ):
            self._slots.put(sample.digest, pixels)
        return pixels


def _read_bytes(sample: Sample) -> bytes:
    try:
        return sample.read()
    except OSError as error:
        raise AssayError(f"{sample.path} can no longer be read: {error.strerror or error}") from None
