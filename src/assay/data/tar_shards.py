"""Photos in tar files (WebDataset's format, or class folders in a tar), which are read in place.

The bytes of a member are a contiguous part of an uncompressed tar, so a photo is read like a file of its own: nothing
is unpacked, and photos are read in any order.

Source: the WebDataset format (Aizman et al., "High Performance I/O For Large Scale Deep Learning", 2019): members with
the same name up to the first dot belong together.
"""

import json
import os
import posixpath
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from assay.core.errors import AssayError
from assay.core.files import open_file
from assay.data.class_folders import Listing
from assay.data.dataset import Sample, ShardRef, Split
from assay.data.split_names import parse_split_name, parse_split_names
from assay.image.image_files import IMAGE_SUFFIXES

SHARD_SUFFIX: Final = ".tar"
_CLASS_SUFFIX, _JSON_SUFFIX = ".cls", ".json"
_LABEL_NAMES: Final = ("label", "cls", "class")
_MAX_LABEL_BYTES: Final = 4096
_MAX_JSON_BYTES: Final = 1 << 20
_END_BLOCK: Final = 1 << 20
_NOWHERE: Final = ShardRef(-1, -1)


class Member(NamedTuple):
    """A regular file in a tar."""

    name: str
    """Path in the tar, without `./` at the beginning."""
    place: ShardRef


@dataclass
class _Record:
    """The members that belong together: photos, and what is known about them."""

    key: str
    photos: list[Member]
    label: str | None = None
    values: dict[str, Any] | None = None


def is_shard(path: Path) -> bool:
    """Whether a path is named as a tar."""
    return path.suffix.casefold() == SHARD_SUFFIX


def is_shard_folder(folder: Path) -> bool:
    """Whether a folder contains tar files and no other folders, or only train/val/test folders of this kind."""
    if not os.access(folder, os.R_OK):
        return False
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    inside = [path for path in entries if path.is_dir()]
    if not inside:
        return any(map(is_shard, entries))
    splits = parse_split_names(path.name for path in inside)
    return len(splits) == len(inside) and all(map(is_shard_folder, inside))


def list_shards(path: Path) -> Listing:
    """List the labelled photos of a tar, or of the tars of a folder.

    The label of a photo is the text of the member `KEY.cls`, `label` in `KEY.json`, or else the name of the photo's
    folder in the tar. `group`, `split` and `source_label` in `KEY.json` are used too.

    Raises:
        AssayError: a tar is damaged, compressed, or contains a photo without a label.
    """
    listing = Listing(path if path.is_dir() else path.absolute().parent)
    if path.is_dir():
        inside = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        splits = parse_split_names(folder.name for folder in inside)
        folders: list[tuple[Path, Split | None]] = [(folder, splits[folder.name]) for folder in inside] or [
            (path, None)
        ]
        shards = [
            (shard, split)
            for folder, split in folders
            for shard in sorted(folder.iterdir())
            if is_shard(shard) and not shard.name.startswith(".")
        ]
    else:
        shards = [(path, None)]
    for shard, split in shards:
        for record in _records(shard, listing):
            listing.samples += _samples(record, shard, split, listing.root)
    listing.labels = list(dict.fromkeys(sample.label for sample in listing.samples))
    if not listing.samples:
        raise AssayError(
            f"{path} contains no photos: give tar files with photos and .cls or .json files, or class folders"
        )
    return listing


def members(stream: BinaryIO, name: str, skipped: Counter[str]) -> Iterator[Member]:
    """Yield the regular files of an uncompressed tar, in order; hidden files are left out.

    A hard link to an earlier member is a file with the same bytes.

    Args:
        stream: seekable; only headers are read.
        name: of the tar, for messages.
        skipped: counts other links and members that are not regular files, by reason.

    Raises:
        AssayError: it is not a tar, compressed or damaged.
    """
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    earlier: dict[str, ShardRef] | None = None
    try:
        with tarfile.open(fileobj=stream, mode="r:", errorlevel=0) as archive:
            for found in _headers(archive):
                place = ShardRef(found.offset_data, found.size)
                if found.islnk():
                    if earlier is None:
                        # Only tars with hard links need the names of all members in memory.
                        earlier = _earlier_places(stream, found.offset)
                    place = earlier.get(_normalize(found.linkname), _NOWHERE)
                reason = "link in a tar" if place is _NOWHERE else _skip_reason(found)
                if reason is not None:
                    if not _is_hidden(found.name):
                        skipped[reason] += 1
                    continue
                if place.size < 0 or place.offset + place.size > end:
                    raise AssayError(f"{name} is truncated: {found.name} ends after the file; copy it again")
                if earlier is not None:
                    earlier[_normalize(found.name)] = place
                if not _is_hidden(found.name):
                    yield Member(_normalize(found.name), place)
            _require_end(stream, archive.offset, name)
    except (tarfile.TarError, ValueError, EOFError, RecursionError) as error:
        raise AssayError(f"{name} is not an uncompressed tar, or it is damaged ({error})") from None


def _headers(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of all members but folders."""
    for found in archive:
        # The library would keep all of them.
        archive.members.clear()  # type: ignore[attr-defined]
        if not found.isdir():
            yield found


def _is_hidden(name: str) -> bool:
    return posixpath.basename(name).startswith(".")


def _earlier_places(stream: BinaryIO, offset: int) -> dict[str, ShardRef]:
    """Return the places of all regular files before a byte of a tar, by name."""
    places = {}
    stream.seek(0)
    with tarfile.open(fileobj=stream, mode="r:", errorlevel=0) as archive:
        for found in _headers(archive):
            if found.offset >= offset:
                break
            if _skip_reason(found) is None and not found.islnk():
                places[_normalize(found.name)] = ShardRef(found.offset_data, found.size)
    return places


def _normalize(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def _skip_reason(member: tarfile.TarInfo) -> str | None:
    """Return why a member is not read; None for regular files and hard links."""
    if member.issym():
        return "link in a tar"
    if member.issparse():
        return "sparse file in a tar"
    return None if member.isreg() or member.islnk() else "special file in a tar"


def _require_end(stream: BinaryIO, offset: int, name: str) -> None:
    """Raise AssayError unless only zero bytes follow: the library takes a damaged header for the end of a tar."""
    stream.seek(offset)
    while block := stream.read(_END_BLOCK):
        if any(block):
            raise AssayError(
                f"{name} is damaged, or several tars in one file: there is data after its end, at byte {offset:,} or "
                "later; copy it again, or give each tar a file of its own"
            )


def _records(shard: Path, listing: Listing) -> Iterator[_Record]:
    try:
        with open_file(shard) as stream:
            record: _Record | None = None
            found = list[Member]()
            for member in members(stream, str(shard), listing.skipped):
                key = _key(member.name)
                if record is None or record.key != key:
                    yield from [] if record is None else _complete(record, found, shard)
                    record, found = _Record(key, []), []
                if posixpath.splitext(member.name)[1].casefold() in IMAGE_SUFFIXES:
                    record.photos.append(member)
                elif member.name.endswith((_CLASS_SUFFIX, _JSON_SUFFIX)):
                    found.append(member)
                else:
                    listing.skipped["not an image"] += 1
            yield from [] if record is None else _complete(record, found, shard)
    except OSError as error:
        raise AssayError(f"{shard} cannot be read: {error.strerror or error}") from None


def _complete(record: _Record, found: list[Member], shard: Path) -> Iterator[_Record]:
    """Read what is known about the photos of a record; yield it if it has photos."""
    if not record.photos:
        return
    for member in found:
        if member.name.endswith(_CLASS_SUFFIX):
            record.label = _text(shard, member, _MAX_LABEL_BYTES).strip()
        else:
            try:
                values = json.loads(_text(shard, member, _MAX_JSON_BYTES))
            except (ValueError, RecursionError):
                raise AssayError(f"{shard}: {member.name} is not valid JSON") from None
            record.values = values if isinstance(values, dict) else None
    yield record


def _samples(record: _Record, shard: Path, split: Split | None, root: Path) -> Iterator[Sample]:
    values = record.values or {}
    label = record.label
    if label is None:
        label = next((str(values[name]) for name in _LABEL_NAMES if isinstance(values.get(name), str | int)), None)
    parent = shard.absolute().relative_to(root.absolute()).as_posix()
    for photo in record.photos:
        chosen = label if label is not None else posixpath.basename(posixpath.dirname(photo.name))
        if not chosen:
            advice = f"add {record.key}.cls with its class, or put it into a class folder"
            raise AssayError(f"{shard}: {photo.name} has no label; {advice}")
        own = values.get("split")
        yield Sample(
            id=f"{parent}/{photo.name}",
            path=shard,
            label=chosen,
            split=split or (parse_split_name(own) if isinstance(own, str) else None),
            group=str(values["group"]) if values.get("group") is not None else None,
            source_label=str(values["source_label"]) if values.get("source_label") is not None else None,
            shard=photo.place,
        )


def _text(shard: Path, member: Member, most: int) -> str:
    if member.place.size > most:
        raise AssayError(f"{shard}: {member.name} has {member.place.size:,} bytes; at most {most:,} are allowed")
    try:
        return member.place.read(shard).decode()
    except UnicodeDecodeError:
        raise AssayError(f"{shard}: {member.name} is not UTF-8 text") from None


def _key(name: str) -> str:
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])
