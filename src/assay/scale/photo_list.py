"""The photos of a distributed prediction: listed once into files of the output folder, in partitions of fixed size."""

import io
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyarrow import parquet

from assay.core.errors import UsageError
from assay.data.tar_shards import SHARD_SUFFIX, members
from assay.image.ignore_rules import SkippedFiles
from assay.image.image_files import IMAGE_SUFFIXES
from assay.image.input_paths import CONTAINER_SUFFIXES, contains_photos, expand_image_paths
from assay.inference.classifier import BATCH_SIZE
from assay.inference.prediction_tables import unicode_path
from assay.scale import storage
from assay.scale.parquet_photos import PhotoRef, parquet_photos

PARTITION_PHOTOS: Final = 16 * BATCH_SIZE
"""Photos per partition: whole batches, so that batches are the same as without partitions."""
_PARTITIONS_PER_FILE: Final = 64
STATE_FILE: Final = "_assay.json"
"""Written into the output folder when all photos are listed; a folder with it is no input."""
_FOLDER: Final = "_photos"
"""Readers of Parquet folders skip names that begin with an underscore."""
_SCHEMA: Final = pa.schema([("source", pa.string()), ("file", pa.binary()), ("row", pa.int64()), ("size", pa.int64())])


def list_photos(inputs: Sequence[str], skipped: SkippedFiles, exclude: Sequence[Path] = ()) -> Iterator[PhotoRef]:
    """Yield the photos that arguments name, in a reproducible order.

    Local files, folders and globs are listed as by `expand_image_paths`. Below a URL, files with the suffix of an image
    are photos. A Parquet file contains photos (bytes, or Hugging Face's `{bytes, path}`) or their paths, a tar contains
    photos; of a folder without photos, the Parquet and tar files are read.

    Args:
        inputs: paths, globs and URLs.
        skipped: collects what is skipped in local folders, and the links and special files in tars.
        exclude: local files and folders to leave out.

    Raises:
        UsageError: an input matches nothing or contains no photos.
        AssayError: a folder, a store or a Parquet file cannot be read.
    """
    for photo in _photos(inputs, skipped, exclude):
        # Processes of a cluster, and a later run, may have another working directory.
        yield photo._replace(file=storage.absolute(photo.file))


def write_photo_list(folder: str, photos: Iterable[PhotoRef]) -> int:
    """Write photos to files in an output folder, a row group per partition; return the number of photos."""
    stream, total = iter(photos), 0
    for number in range(1 << 62):
        group = list(islice(stream, _PARTITIONS_PER_FILE * PARTITION_PHOTOS))
        if not group:
            break
        columns = (
            [photo.source for photo in group],
            [os.fsencode(photo.file) for photo in group],
            [photo.row for photo in group],
            [photo.size for photo in group],
        )
        arrays = [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)]
        target = io.BytesIO()
        parquet.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), target, row_group_size=PARTITION_PHOTOS)
        storage.write(_list_file(folder, number), target.getvalue())
        total += len(group)
    return total


def read_photo_list(folder: str, partition: int) -> list[PhotoRef]:
    """Return the photos of a partition (counted from 0)."""
    number, group = divmod(partition, _PARTITIONS_PER_FILE)
    with storage.open_binary(_list_file(folder, number)) as stream:
        table = parquet.ParquetFile(stream).read_row_group(group)
    rows = table.to_pylist()
    return [PhotoRef(row["source"], os.fsdecode(row["file"]), row["row"], row["size"]) for row in rows]


def partition_count(photos: int) -> int:
    """Return the number of partitions of a number of photos."""
    return -(-photos // PARTITION_PHOTOS)


def _photos(inputs: Sequence[str], skipped: SkippedFiles, exclude: Sequence[Path]) -> Iterator[PhotoRef]:
    local = [found for name in inputs if not storage.is_url(name) for found in _replace_container_folder(name)]
    for path in expand_image_paths(local, exclude, skipped) if local else ():
        name = str(path)
        yield from _photos_in(name, skipped) if _is_container(name) else [PhotoRef(unicode_path(name), name)]
    for url in inputs:
        if storage.is_url(url):
            yield from _photos_below(url, skipped)


def _list_file(folder: str, number: int) -> str:
    return storage.join(storage.join(folder, _FOLDER), f"{number:05}.parquet")


def _is_container(name: str) -> bool:
    return posixpath.splitext(name)[1].casefold() in CONTAINER_SUFFIXES


def _replace_container_folder(name: str) -> list[str]:
    """Return the Parquet and tar files of a local folder that contains no photos, otherwise the name itself."""
    path = Path(name)
    if not name or not path.is_dir() or contains_photos(path):
        return [name]
    return _container_files(path) or [name]


def _container_files(folder: Path) -> list[str]:
    files: list[str] = []
    for parent, folders, names in os.walk(folder):
        if STATE_FILE in names:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [str(Path(parent, name)) for name in names if _is_container(name) and not name.startswith(".")]
    return sorted(files)


def _photos_below(url: str, skipped: SkippedFiles) -> Iterator[PhotoRef]:
    files = [url] if storage.is_file(url) else storage.walk(url, without=STATE_FILE)
    found, tables = False, []
    for file in files:
        if _is_container(file):
            tables.append(file)
        elif file == url or posixpath.splitext(file)[1].casefold() in IMAGE_SUFFIXES:
            found = True
            yield PhotoRef(file, file)
    for file in () if found else tables:
        yield from _photos_in(file, skipped)
    if not found and not tables:
        raise UsageError(f"{url} contains no photos: give another folder, or files")


def _photos_in(file: str, skipped: SkippedFiles) -> Iterator[PhotoRef]:
    """Yield the photos of a Parquet or tar file."""
    if posixpath.splitext(file)[1].casefold() != SHARD_SUFFIX:
        yield from parquet_photos(file)
        return
    with storage.open_binary(file) as stream:
        for member in members(stream, file, skipped.counts):
            if posixpath.splitext(member.name)[1].casefold() in IMAGE_SUFFIXES:
                source = unicode_path(f"{file}/{member.name}")
                yield PhotoRef(source, file, member.place.offset, member.place.size)
