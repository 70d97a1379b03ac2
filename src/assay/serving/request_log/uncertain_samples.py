"""Keep the photos classified with the least confidence, with a manifest, for labelling."""

import asyncio
import csv
import hashlib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from assay.core.errors import UsageError
from assay.core.files import atomic_write
from assay.core.locks import file_lock
from assay.core.tables import SafeCsvWriter, read_csv_dicts
from assay.serving.request_log import UncertainSampleSettings
from assay.serving.request_log.serialization import to_milliseconds
from assay.serving.request_record import RequestRecord

MANIFEST: Final = "manifest.csv"

_log = logging.getLogger("assay.serving.request_log")
_MIB: Final = 2**20
_MAX_PENDING_BYTES: Final = 64 * _MIB  # of photos that wait to be written
_PHOTO_NAME: Final = re.compile(r"[0-9a-f]{32}\.[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class UncertainSample:
    """A row of the manifest."""

    path: str
    """Name of the photo in the folder: the first 32 digits of its SHA-256, and its format."""
    label: str
    confidence: float
    request_id: str
    timestamp: str
    model: str
    model_version: str


_COLUMNS: Final = tuple(item.name for item in fields(UncertainSample))


class UncertainSampleStore:
    """Keeps the photos with the lowest confidence, up to a limit. For one event loop."""

    def __init__(self, folder: Path, settings: UncertainSampleSettings) -> None:
        """Raise `UsageError` if the folder is a file."""
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"uncertain photos cannot be kept in {folder}: it is a file; give a folder")
        self._folder, self._settings = folder, settings
        self._pending: list[tuple[bytes, RequestRecord]] = []
        self._size = 0
        self._task: asyncio.Task[None] | None = None

    def offer(self, photo: bytes, record: RequestRecord) -> bool:
        """Queue a photo to be kept, if its result is uncertain; return False if it is confident or the queue is full.

        `record` is that of the request, which has a label. Never blocks: the photo is written after the response.
        """
        if record.result is None or record.confidence is None or record.image is None:
            return False
        if record.confidence >= self._settings.max_confidence and not record.unknown:
            return False
        if self._size + len(photo) > _MAX_PENDING_BYTES:
            return False
        self._pending.append((photo, record))
        self._size += len(photo)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="uncertain photos")
        return True

    async def close(self) -> None:
        """Write queued photos."""
        if self._task is not None:
            await self._task

    async def _write(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            try:
                await asyncio.to_thread(self._keep, batch)
            except (OSError, KeyError, ValueError, csv.Error) as error:
                # For example, a manifest that was edited and cannot be parsed; it is not overwritten.
                _log.warning("uncertain photos cannot be kept in %s: %s", self._folder, error)
            self._size -= sum(len(photo) for photo, _ in batch)

    def _keep(self, batch: Sequence[tuple[bytes, RequestRecord]]) -> None:
        """Add photos, then remove the most confident ones beyond the limits; the manifest is written last."""
        with file_lock(self._folder / ".lock"):
            rows = {row.path: row for row in read_uncertain_samples(self._folder)}
            photos: dict[str, bytes] = {}
            for photo, record in batch:
                row = _make_sample(photo, record)
                if row.path not in rows:
                    rows[row.path], photos[row.path] = row, photo
            sizes = {name: len(photo) for name, photo in photos.items()}
            kept = self._within_bounds(rows.values(), sizes)
            for row in kept:
                if row.path in photos:
                    with atomic_write(self._folder / row.path) as temporary:
                        temporary.write_bytes(photos[row.path])
            _write_manifest(self._folder, kept)
            self._remove_others({row.path for row in kept})

    def _within_bounds(self, rows: Iterable[UncertainSample], new: Mapping[str, int]) -> list[UncertainSample]:
        """Return the rows to keep, least confident first; `new` contains the sizes of unwritten photos."""
        kept: list[UncertainSample] = []
        room = self._settings.max_megabytes * _MIB
        for row in sorted(rows, key=lambda row: (row.confidence, row.path)):
            size = new.get(row.path)
            room -= (self._folder / row.path).stat().st_size if size is None else size
            if room < 0 or len(kept) == self._settings.max_photos:
                break
            kept.append(row)
        return kept

    def _remove_others(self, names: set[str]) -> None:
        for path in self._folder.iterdir():
            if _PHOTO_NAME.fullmatch(path.name) and path.name not in names:
                path.unlink()


def read_uncertain_samples(folder: Path) -> list[UncertainSample]:
    """Return the rows of a folder's manifest whose photos exist; none if there is no manifest."""
    try:
        with (folder / MANIFEST).open(encoding="utf-8-sig", newline="") as stream:
            rows = [_parse_row(row) for row in read_csv_dicts(stream)[1]]
    except FileNotFoundError:
        return []
    return [row for row in rows if (folder / row.path).is_file()]


def _parse_row(row: Mapping[str, str]) -> UncertainSample:
    return UncertainSample(
        path=row["path"],
        label=row["label"],
        confidence=float(row["confidence"]),
        request_id=row["request_id"],
        timestamp=row["timestamp"],
        model=row["model"],
        model_version=row["model_version"],
    )


def _write_manifest(folder: Path, rows: Sequence[UncertainSample]) -> None:
    with (
        atomic_write(folder / MANIFEST) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        table = SafeCsvWriter(stream, exact=True)
        table.writerow(_COLUMNS)
        table.writerows(asdict(row).values() for row in rows)


def _make_sample(photo: bytes, record: RequestRecord) -> UncertainSample:
    suffix = record.image.format.lower() if record.image else ""
    suffix = "jpg" if suffix == "jpeg" else suffix
    name = hashlib.sha256(photo).hexdigest()[:32]
    return UncertainSample(
        path=f"{name}.{suffix if suffix.isalnum() and suffix.isascii() else 'img'}",
        label=record.result or "",
        confidence=record.confidence or 0.0,
        request_id=record.request_id,
        timestamp=to_milliseconds(record.timestamp).isoformat(timespec="milliseconds"),
        model=record.model,
        model_version=record.model_version,
    )
