"""Read and write manifests: tables with path and label of each image, including Hugging Face's `metadata.csv`."""

import io
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from assay.core.errors import AssayError
from assay.core.files import require_regular_file, write_text
from assay.core.image_table_columns import recognize_columns, resolve_table_path
from assay.core.image_table_reader import (
    CSV_SUFFIXES,
    JSON_LINES_SUFFIXES,
    Cells,
    ImageTable,
    read_table,
    table_columns,
)
from assay.core.tables import SafeCsvWriter
from assay.core.text_layout import counted
from assay.data.class_folders import Listing
from assay.data.dataset import (
    SPLITS,
    Dataset,
    Sample,
    ShardRef,
    Split,
    check_label_collisions,
    class_order,
    quote_names,
)
from assay.data.parquet_tables import PARQUET_SUFFIXES, parquet_columns, read_parquet
from assay.data.split_names import parse_split_names
from assay.data.tensor_files import Encoding, TensorRef
from assay.image.ignore_rules import SkippedFiles
from assay.image.image_files import list_folder_content

MANIFEST_SUFFIXES = CSV_SUFFIXES | JSON_LINES_SUFFIXES | PARQUET_SUFFIXES

_COLUMNS = ("id", "path", "label", "split", "group", "source_label", "digest", "tensor", "shard")
_REQUIRED = ("path", "label")
_ROW_NUMBER_COLUMNS = ("column ", "unnamed: ", "__index_level_")
"""Name prefixes of columns that contain only row numbers."""


def write_manifest(dataset: Dataset, path: Path) -> None:
    """Write a data set as CSV, atomically.

    Paths below the manifest's folder are relative to it, others absolute. Unused columns are omitted, except `id`,
    `path`, `label` and `split`.
    """
    folder = path.absolute().parent
    rows = [_row(sample, folder) for sample in dataset.samples]
    always = {"id", "path", "label", "split"}
    columns = [name for name in _COLUMNS if name in always or any(row[name] for row in rows)]
    text = io.StringIO()
    writer = SafeCsvWriter(text, exact=True)
    writer.writerow(columns)
    writer.writerows([row[name] for name in columns] for row in rows)
    write_text(path, text.getvalue())


def read_manifest(path: Path, classes: Sequence[str] | None = None) -> Dataset:
    """Read a CSV or Parquet manifest without opening the images; for unverified data use `scan`.

    `classes` is the class order, which manifests do not contain; None: natural order of names. Raises `AssayError`
    if the table cannot be read, lacks a column, or has an invalid line, which is named.
    """
    listing = list_manifest(path)
    check_label_collisions(listing.labels)
    classes = class_order(listing.labels, None, classes)
    samples = tuple(sorted(listing.samples, key=lambda sample: sample.id))
    return Dataset(listing.root, classes, samples, (), dict(listing.skipped), tuple(listing.warnings))


def list_manifest(path: Path) -> Listing:
    """Read the rows of a manifest as candidates; `AssayError` as for `read_manifest`."""
    require_regular_file(path)
    root = path.absolute().parent
    listing = Listing(root)
    table = read_parquet(path) if path.suffix.casefold() in PARQUET_SUFFIXES else read_table(path)
    listing.warnings += table.warnings
    splits = _parse_splits(path, table, listing)
    seen: dict[str, tuple[Sample, int]] = {}
    ids: dict[str, int] = {}
    for row in table.rows:
        where, (number, cells) = table.location(row), row
        place = root / cells["path"] if table.literal else resolve_table_path(root, cells["path"], where)
        sample = _sample(cells, root, place, splits, where)
        key = os.path.normpath(sample.path) + cells.get("tensor", "") + cells.get("shard", "")
        earlier, line = seen.setdefault(key, (sample, number))
        if earlier is sample:
            if ids.setdefault(sample.id, number) != number:
                raise AssayError(f"{where}: the id {sample.id!r} stands in line {ids[sample.id]} too; make it unique")
            listing.samples.append(sample)
        elif earlier == sample:
            listing.skipped["repeated row of a manifest"] += 1
        else:
            raise AssayError(
                f"{where}: {cells['path']} stands in line {line} too, with another {_difference(earlier, sample)}"
            )
    listing.labels = list(dict.fromkeys(sample.label for sample in listing.samples))
    if repeated := listing.skipped["repeated row of a manifest"]:
        listing.warnings.append(f"{path.name} repeats {counted(repeated, 'row')}; each photo is used once")
    if not listing.samples:
        raise AssayError(f"manifest {path} has no rows; add one for each photo")
    return listing


def has_labels(path: Path) -> bool:
    """Return whether a table has a label column; `AssayError` if it cannot be read."""
    columns = parquet_columns(path) if path.suffix.casefold() in PARQUET_SUFFIXES else table_columns(path)
    return "label" in recognize_columns(path, columns).values()


def _parse_splits(path: Path, table: ImageTable, listing: Listing) -> dict[str, Split]:
    """Check that there are paths and labels, and return the splits by their names in the table.

    Raises `AssayError` if a column is missing or a split has an unknown name.
    """
    if missing := [name for name in _REQUIRED if table.column_name(name) is None]:
        raise AssayError(
            f"manifest {path} has no column {quote_names(missing)}; its first line names "
            f"{quote_names(table.columns) or 'nothing'}"
        )
    texts = {row.cells.get("split", "").strip() for row in table.rows} - {""}
    splits = parse_split_names(texts)
    unknown = [name for name in table.columns if name not in table.meaning]
    if texts - splits.keys() and (name := table.column_name("split")) is not None:
        usual = name.strip().casefold()
        if usual == "split" or ("train" in splits.values() and usual not in {"part", "set"}):
            known = {"", *splits}
            row = next(row for row in table.rows if row.cells.get("split", "").strip() not in known)
            raise AssayError(
                f"{table.location(row)}: {name} {row.cells['split']!r} is none of {quote_names(SPLITS)}; correct it "
                "or leave it empty"
            )
        # A column `part` or `set` may have another meaning.
        unknown.append(name)
        splits = {}
    if unknown := [name for name in unknown if not name.casefold().startswith(_ROW_NUMBER_COLUMNS)]:
        listing.warnings.append(f"{path.name}: columns without a meaning here were ignored: {quote_names(unknown)}")
    return splits


def _row(sample: Sample, folder: Path) -> dict[str, str]:
    absolute = sample.path.absolute()
    inside = absolute.is_relative_to(folder)
    return {
        "id": sample.id,
        "path": absolute.relative_to(folder).as_posix() if inside else absolute.as_posix(),
        "label": sample.label,
        "split": sample.split or "",
        "group": sample.group or "",
        "source_label": sample.source_label or "",
        "digest": sample.digest or "",
        "tensor": _tensor_text(sample.tensor) if sample.tensor else "",
        "shard": f"{sample.shard.offset}:{sample.shard.size}" if sample.shard else "",
    }


def _sample(cells: Cells, root: Path, place: Path, splits: dict[str, Split], where: str) -> Sample:
    if "\0" in cells["path"]:
        raise AssayError(f"{where}: path holds a zero byte; save the table as plain text")
    path = Path(os.path.normpath(place))
    derived = path.relative_to(root) if path.is_relative_to(root) else path
    tensor = _tensor(cells.get("tensor", ""), where)
    shard = _shard(cells.get("shard", ""), where)
    suffix = f"#{tensor.index}" if tensor and tensor.index is not None else f"#{shard.offset}" if shard else ""
    return Sample(
        id=cells.get("id", "") or derived.as_posix() + suffix,
        path=path,
        label=unicodedata.normalize("NFC", cells["label"].strip()),
        split=splits.get(cells.get("split", "").strip()),
        group=cells.get("group", "").strip() or None,
        source_label=cells.get("source_label", "").strip() or None,
        digest=cells.get("digest", "").strip() or None,
        tensor=tensor,
        shard=shard,
    )


def _tensor_text(ref: TensorRef) -> str:
    return f"{ref.encoding}:{'' if ref.index is None else ref.index}"


def _tensor(text: str, where: str) -> TensorRef | None:
    if not text:
        return None
    encoding, _, index = text.partition(":")
    for known in get_args(Encoding):
        if encoding == known and (not index or index.isdecimal()):
            return TensorRef(known, int(index) if index else None)
    raise AssayError(f"{where}: tensor {text!r} is not one of {quote_names(get_args(Encoding))}, a colon and an index")


def _shard(text: str, where: str) -> ShardRef | None:
    if not text:
        return None
    offset, _, size = text.partition(":")
    if not (offset.isdecimal() and size.isdecimal()):
        raise AssayError(f"{where}: shard {text!r} is not two numbers with a colon between")
    return ShardRef(int(offset), int(size))


def _difference(earlier: Sample, other: Sample) -> str:
    for name in ("label", "split", "group", "source_label", "id"):
        if getattr(earlier, name) != getattr(other, name):
            return f"{name} ({getattr(earlier, name)!r} there, {getattr(other, name)!r} here)"
    return "digest"


_METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def list_metadata(root: Path) -> Listing | None:
    """List the images that the metadata of a folder labels; None without metadata with labels.

    Raises:
        AssayError: a table cannot be read or is invalid, as for a manifest; or only some of the splits have one.
    """
    if (table := _labelled_table(root)) is not None:
        return list_manifest(table)
    inside = list_folder_content(root, SkippedFiles()).folders
    splits = parse_split_names(path.name for path in inside)
    tables = {path: _labelled_table(path) for path in inside if path.name in splits}
    labelled = {path: table for path, table in tables.items() if table is not None}
    if not labelled:
        return None
    if without := [folder for folder in tables if folder not in labelled]:
        table = next(iter(labelled.values()))
        raise AssayError(f"{without[0]} has no {table.name} with labels, as {table.parent} has; add one")
    whole = Listing(root)
    for folder, table in labelled.items():
        listing = list_manifest(table)
        whole.samples += [
            replace(sample, id=f"{folder.name}/{sample.id}", split=splits[folder.name]) for sample in listing.samples
        ]
        whole.skipped += listing.skipped
        whole.warnings += listing.warnings
    whole.labels = list(dict.fromkeys(sample.label for sample in whole.samples))
    return whole


def _labelled_table(folder: Path) -> Path | None:
    """Return the table with labels in a folder, if any; errors in it are left to `list_manifest`.

    Raises `AssayError` if there are several.
    """
    found = [path for name in _METADATA_FILES if (path := folder / name).is_file() and has_labels(path)]
    if len(found) > 1:
        raise AssayError(f"{found[0]} and {found[1].name} both have labels; remove one")
    return found[0] if found else None
