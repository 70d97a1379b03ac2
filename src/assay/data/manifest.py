"""Tables of photos: `path` and `label`, and if there are any `split`, `group`, `source_label`.

Reads CSV, JSON lines and Parquet in many a dialect (`assay.photo_tables`), writes CSV. Paths are absolute or
relative to the manifest's own folder. A manifest that Assay wrote has further columns (`id`, `digest`,
`tensor`), so that reading it gives the same data set.
"""

import io
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from assay.data.folders import Listing
from assay.data.labels import class_order, named, refuse_collisions
from assay.data.parquet_tables import PARQUET_SUFFIXES, parquet_columns, read_parquet
from assay.data.samples import SPLITS, Dataset, Sample, Split
from assay.data.split_names import splits_named
from assay.data.tensors import Encoding, TensorRef
from assay.errors import AssayError
from assay.files import require_file, write_text
from assay.photo_tables import (
    CSV_SUFFIXES,
    JSON_LINES_SUFFIXES,
    Cells,
    PhotoTable,
    column_meanings,
    read_table,
    table_columns,
)
from assay.safe_csv import SafeWriter
from assay.table_paths import table_path

MANIFEST_SUFFIXES = CSV_SUFFIXES | JSON_LINES_SUFFIXES | PARQUET_SUFFIXES

_COLUMNS = ("id", "path", "label", "split", "group", "source_label", "digest", "tensor")
_REQUIRED = ("path", "label")
_UNNAMED = ("column ", "unnamed: ", "__index_level_")
"""How columns of bare row numbers are called."""


def write_manifest(dataset: Dataset, path: Path) -> None:
    """Write a data set as CSV, whole or not at all.

    Paths below the manifest's folder are written relative to it, others absolute. Columns that no sample
    uses are left out, besides `id`, `path`, `label` and `split`.
    """
    folder = path.absolute().parent
    rows = [_row(sample, folder) for sample in dataset.samples]
    always = {"id", "path", "label", "split"}
    columns = [name for name in _COLUMNS if name in always or any(row[name] for row in rows)]
    text = io.StringIO()
    writer = SafeWriter(text, exact=True)
    writer.writerow(columns)
    writer.writerows([row[name] for name in columns] for row in rows)
    write_text(path, text.getvalue())


def read_manifest(path: Path, classes: Sequence[str] | None = None) -> Dataset:
    """Read a manifest without opening the photos; for data that has not been verified there is `scan`.

    Args:
        path: a CSV or Parquet file.
        classes: the order of the classes, which no manifest holds; by name with numbers in order when None.

    Raises:
        AssayError: the table cannot be read, lacks a column, or a line makes no sense (the line is named).
    """
    listing = list_manifest(path)
    refuse_collisions(listing.labels)
    classes = class_order(listing.labels, None, classes)
    samples = tuple(sorted(listing.samples, key=lambda sample: sample.id))
    return Dataset(listing.root, classes, samples, (), dict(listing.skipped), tuple(listing.warnings))


def list_manifest(path: Path) -> Listing:
    """Read the rows of a manifest as candidates.

    Raises:
        AssayError: as `read_manifest`.
    """
    require_file(path)
    root = path.absolute().parent
    listing = Listing(root)
    table = read_parquet(path) if path.suffix.casefold() in PARQUET_SUFFIXES else read_table(path)
    listing.warnings += table.warnings
    splits = _understood(path, table, listing)
    seen: dict[str, tuple[Sample, int]] = {}
    ids: dict[str, int] = {}
    for row in table.rows:
        where, (number, cells) = table.where(row), row
        place = root / cells["path"] if table.own else table_path(root, cells["path"], where)
        sample = _sample(cells, root, place, splits, where)
        key = os.path.normpath(sample.path) + cells.get("tensor", "")
        earlier, line = seen.setdefault(key, (sample, number))
        if earlier is sample:
            if ids.setdefault(sample.id, number) != number:
                raise AssayError(
                    f"{where}: the id {sample.id!r} stands in line {ids[sample.id]} too; make it unique"
                )
            listing.samples.append(sample)
        elif earlier == sample:
            listing.skipped["repeated row of a manifest"] += 1
        else:
            raise AssayError(
                f"{where}: {cells['path']} stands in line {line} too, with another {_odds(earlier, sample)}"
            )
    listing.labels = list(dict.fromkeys(sample.label for sample in listing.samples))
    if repeated := listing.skipped["repeated row of a manifest"]:
        listing.warnings.append(f"{path.name} repeats {repeated} rows; each photo is used once")
    if not listing.samples:
        raise AssayError(f"manifest {path} has no rows; add one for each photo")
    return listing


def has_labels(path: Path) -> bool:
    """Say whether a table has a column of labels.

    Raises:
        AssayError: the table cannot be read.
    """
    columns = parquet_columns(path) if path.suffix.casefold() in PARQUET_SUFFIXES else table_columns(path)
    return "label" in column_meanings(path, columns).values()


def _understood(path: Path, table: PhotoTable, listing: Listing) -> dict[str, Split]:
    """Make sure that there are paths and labels, and return the parts by what the table calls them.

    Raises:
        AssayError: a column is missing, or a part has an unknown name.
    """
    if missing := [name for name in _REQUIRED if table.called(name) is None]:
        raise AssayError(
            f"manifest {path} has no column {named(missing)}; its first line names "
            f"{named(table.columns) or 'nothing'}"
        )
    texts = {row.cells.get("split", "").strip() for row in table.rows} - {""}
    splits = splits_named(texts)
    unknown = [name for name in table.columns if name not in table.meaning]
    if texts - splits.keys() and (name := table.called("split")) is not None:
        usual = name.strip().casefold()
        if usual == "split" or ("train" in splits.values() and usual not in {"part", "set"}):
            known = {"", *splits}
            row = next(row for row in table.rows if row.cells.get("split", "").strip() not in known)
            raise AssayError(
                f"{table.where(row)}: {name} {row.cells['split']!r} is none of {named(SPLITS)}; correct it "
                "or leave it empty"
            )
        # A column called `part` or `set` need not speak of these parts.
        unknown.append(name)
        splits = {}
    if unknown := [name for name in unknown if not name.casefold().startswith(_UNNAMED)]:
        listing.warnings.append(f"{path.name}: columns without a meaning here were ignored: {named(unknown)}")
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
    }


def _sample(cells: Cells, root: Path, place: Path, splits: dict[str, Split], where: str) -> Sample:
    if "\0" in cells["path"]:
        raise AssayError(f"{where}: path holds a zero byte; save the table as plain text")
    path = Path(os.path.normpath(place))
    derived = path.relative_to(root) if path.is_relative_to(root) else path
    tensor = _tensor(cells.get("tensor", ""), where)
    suffix = f"#{tensor.index}" if tensor and tensor.index is not None else ""
    return Sample(
        id=cells.get("id", "") or derived.as_posix() + suffix,
        path=path,
        label=unicodedata.normalize("NFC", cells["label"].strip()),
        split=splits.get(cells.get("split", "").strip()),
        group=cells.get("group", "").strip() or None,
        source_label=cells.get("source_label", "").strip() or None,
        digest=cells.get("digest", "").strip() or None,
        tensor=tensor,
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
    raise AssayError(
        f"{where}: tensor {text!r} is not one of {named(get_args(Encoding))}, a colon and an index"
    )


def _odds(one: Sample, other: Sample) -> str:
    for name in ("label", "split", "group", "source_label", "id"):
        if getattr(one, name) != getattr(other, name):
            return f"{name} ({getattr(one, name)!r} there, {getattr(other, name)!r} here)"
    return "digest"
