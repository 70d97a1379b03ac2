"""Predict one partition of photos: read and decode, classify in batches of fixed composition, write a Parquet file."""

import errno
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from assay.core.errors import AssayError
from assay.core.files import is_storage_error
from assay.image import Preprocess
from assay.inference import BATCH_SIZE, Classifier, Failure
from assay.inference.inputs import PreparedImage, prefetch, read_input, require_final, run_streams
from assay.inference.prediction_tables import arrow_table, prediction_row
from assay.scale import storage
from assay.scale.parquet_photos import PhotoRef, error_text, image_column, resolve_path

_REMOTE_READERS: Final = 16
"""Threads that read photos of an object store, which mostly wait."""
_LOCAL_READERS: Final = 2
_ROWS_READ: Final = 16


class PartitionResult(NamedTuple):
    """Counts of a partition that was written."""

    partition: int
    photos: int
    unreadable: int


class _Content(NamedTuple):
    photo: PhotoRef
    data: bytes | None
    """Bytes from a Parquet or tar file; None: they are read from `photo.file`."""


def partition_file(partition: int) -> str:
    """Return the name of the file with the predictions of a partition."""
    return f"part-{partition:06}.parquet"


def decode_partition(photos: Sequence[PhotoRef], preprocess: Preprocess) -> Iterator[list[PreparedImage]]:
    """Read and preprocess photos in threads; yield them in batches of `BATCH_SIZE`, in order.

    Raises:
        AssayError: the storage of a photo (a disk, a store) or a Parquet file cannot be read. A photo that is missing
            or damaged is a failure instead.
    """

    def prepare(content: _Content, _: int) -> PreparedImage:
        return content.photo.source, _read(content, preprocess)

    remote = any(storage.is_url(photo.file) and photo.row is None for photo in photos)
    with ThreadPoolExecutor(_REMOTE_READERS if remote else _LOCAL_READERS, thread_name_prefix="assay-read") as pool:
        yield from prefetch(_contents(photos), prepare, BATCH_SIZE, pool)


def write_partition(
    classifier: Classifier, batches: Iterable[list[PreparedImage]], folder: str, partition: int
) -> PartitionResult:
    """Classify the batches of a partition and write the predictions to its file, as a whole.

    The same photos give the same bytes, so a partition can be written again after a failure.

    Raises:
        AssayError: the model fails, or the file cannot be written.
    """
    streams = classifier.setup.streams
    with ThreadPoolExecutor(streams, thread_name_prefix="assay-stream") as pool:
        answers = run_streams(classifier.predict_prepared, batches, streams, pool)
        rows = [prediction_row(answer) for batch in answers for answer in batch]
    table = arrow_table(rows, classifier.classes, abstention=classifier.abstention is not None)
    target = io.BytesIO()
    parquet.write_table(table, target)
    storage.write(storage.join(folder, partition_file(partition)), target.getvalue())
    return PartitionResult(partition, len(rows), sum("error" in row for row in rows))


def pack(batches: Iterable[Sequence[PreparedImage]]) -> dict[str, Any]:
    """Convert the batches of a partition to plain values that Ray can send to another process."""
    prepared = [image for batch in batches for image in batch]
    readable = [pixels for _, pixels in prepared if not isinstance(pixels, Failure)]
    return {
        "sources": [source for source, _ in prepared],
        "reasons": [pixels.reason if isinstance(pixels, Failure) else None for _, pixels in prepared],
        "pixels": np.stack(readable).tobytes() if readable else b"",
    }


def unpack(values: Mapping[str, Any], size: int) -> Iterator[list[PreparedImage]]:
    """Return the batches that `pack` was given, for images of `size` × `size` pixels.

    `pixels` is any buffer; it is not copied.
    """
    pixels = iter(np.frombuffer(values["pixels"], np.uint8).reshape(-1, size, size, 3))
    batch: list[PreparedImage] = []
    for source, reason in zip(values["sources"], values["reasons"], strict=True):
        batch.append((source, next(pixels) if reason is None else Failure(source, reason)))
        if len(batch) == BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch


def _read(content: _Content, preprocess: Preprocess) -> np.ndarray | Failure:
    photo, data = content
    if data is None and not storage.is_url(photo.file):
        pixels = read_input(Path(photo.file), preprocess)
    else:
        try:
            pixels = read_input(storage.read(photo.file) if data is None else data, preprocess)
        except OSError as error:
            if is_storage_error(error):
                raise AssayError(f"{photo.file} cannot be read ({error}): repeat the command to resume") from None
            return Failure(photo.source, (error.strerror or os.strerror(errno.ENOENT)).lower())
    if not isinstance(pixels, Failure):
        return pixels
    require_final(pixels)
    return Failure(photo.source, pixels.reason)


def _contents(photos: Sequence[PhotoRef]) -> Iterator[_Content]:
    """Yield photos, with their bytes if they are in a Parquet or tar file, of which each is opened once."""
    start = 0
    for place in range(1, len(photos) + 1):
        first = photos[start]
        if place < len(photos) and photos[place].file == first.file and first.row is not None:
            continue
        group = photos[start:place]
        if first.size is not None:
            yield from _members(group)
        elif first.row is not None:
            yield from _rows(group)
        else:
            yield from (_Content(photo, None) for photo in group)
        start = place


def _members(photos: Sequence[PhotoRef]) -> Iterator[_Content]:
    """Read photos of a tar."""
    file = photos[0].file
    try:
        with storage.open_binary(file) as stream:
            for photo in photos:
                stream.seek(photo.row or 0)
                data = stream.read(photo.size)
                if len(data) != photo.size:
                    raise AssayError(f"{file} is shorter than when the photos were listed: give another output folder")
                yield _Content(photo, data)
    except OSError as error:
        raise AssayError(f"{file} cannot be read ({error}): repeat the command to resume") from None


def _rows(photos: Sequence[PhotoRef]) -> Iterator[_Content]:
    """Read consecutive rows of a Parquet file; row groups before the first row are not read."""
    file = photos[0].file
    wanted = {photo.row: photo for photo in photos if photo.row is not None}
    first, last = min(wanted), max(wanted)
    try:
        with storage.open_binary(file) as stream:
            table = parquet.ParquetFile(stream)
            column = image_column(table.schema_arrow, file)
            row, groups = 0, []
            for number in range(table.num_row_groups):
                length = table.metadata.row_group(number).num_rows
                if row + length > first and row <= last:
                    groups.append((number, row))
                row += length
            for number, begin in groups:
                position = begin
                for batch in table.iter_batches(_ROWS_READ, row_groups=[number], columns=[column]):
                    for place, value in enumerate(batch.column(0), start=position):
                        if place in wanted:
                            yield _content(wanted.pop(place), value.as_py())
                    position += len(batch)
                    if not wanted:
                        return
    except (OSError, pa.ArrowException) as error:
        raise AssayError(
            f"{file} cannot be read ({error_text(error)}): replace it if it is damaged, and repeat the command"
        ) from None
    if wanted:
        raise AssayError(f"{file} has fewer rows than when the photos were listed: give another output folder")


def _content(photo: PhotoRef, value: Any) -> _Content:
    if not isinstance(value, Mapping):
        return _Content(photo, value or b"")
    if value.get("bytes") is None and value.get("path"):
        # Hugging Face's format for a file beside the table.
        return _Content(PhotoRef(photo.source, resolve_path(photo.file, value["path"])), None)
    return _Content(photo, value.get("bytes") or b"")
