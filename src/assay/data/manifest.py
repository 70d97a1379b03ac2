"""Tables of photos: `path` and `label`, and if there are any `split`, `group`, `source_label`.

Reads CSV and Parquet, writes CSV. Paths are absolute or relative to the manifest's own folder; their column
may be called `file_name`, as in Hugging Face's folders. A manifest that Assay wrote has further columns
(`id`, `digest`, `tensor`), so that reading it gives the same data set.
"""

import csv
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, get_args

from assay.data.folders import Listing
from assay.data.labels import class_order, named, refuse_collisions
from assay.data.samples import SPLITS, Dataset, Sample, Split
from assay.data.split_names import split_named
from assay.data.tensors import Encoding, TensorRef
from assay.errors import AssayError
from assay.files import write_text
from assay.safe_csv import SafeWriter, restore

MANIFEST_SUFFIXES = frozenset({".csv", ".parquet", ".pq"})

_COLUMNS = ("id", "path", "label", "split", "group", "source_label", "digest", "tensor")
_REQUIRED = ("path", "label")
_OTHER_NAMES = {"file_name": "path"}

Row = Mapping[str, str]


class _Reader(Protocol):
    """What `csv.reader` returns; the standard library has no name for it."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


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
    root = path.absolute().parent
    listing = Listing(root)
    seen: dict[str, tuple[Sample, int]] = {}
    ids: dict[str, int] = {}
    for number, row in _rows(path, listing):
        where = f"{path}, line {number}"
        sample = _sample(row, root, where)
        key = os.path.normpath(sample.path) + row.get("tensor", "")
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
                f"{where}: {row['path']} stands in line {line} too, with another {_odds(earlier, sample)}"
            )
    listing.labels = list(dict.fromkeys(sample.label for sample in listing.samples))
    if repeated := listing.skipped["repeated row of a manifest"]:
        listing.warnings.append(f"{path.name} repeats {repeated} rows; each photo is used once")
    if not listing.samples:
        raise AssayError(f"manifest {path} has no rows; add one for each photo")
    return listing


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


def _sample(row: Row, root: Path, where: str) -> Sample:
    for column in _REQUIRED:
        if not row.get(column, "").strip():
            raise AssayError(f"{where}: {column} is empty; fill it in or remove the line")
    if "\0" in row["path"]:
        raise AssayError(f"{where}: path holds a zero byte; save the table as plain text")
    path = Path(os.path.normpath(root / row["path"]))
    derived = path.relative_to(root) if path.is_relative_to(root) else path
    tensor = _tensor(row.get("tensor", ""), where)
    suffix = f"#{tensor.index}" if tensor and tensor.index is not None else ""
    return Sample(
        id=row.get("id", "") or derived.as_posix() + suffix,
        path=path,
        label=unicodedata.normalize("NFC", row["label"].strip()),
        split=_split(row.get("split", ""), where),
        group=row.get("group", "").strip() or None,
        source_label=row.get("source_label", "").strip() or None,
        digest=row.get("digest", "").strip() or None,
        tensor=tensor,
    )


def _split(text: str, where: str) -> Split | None:
    if not text.strip():
        return None
    split = split_named(text)
    if split is None:
        raise AssayError(f"{where}: split {text!r} is none of {named(SPLITS)}; correct it or leave it empty")
    return split


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


def _rows(path: Path, listing: Listing) -> Iterator[tuple[int, Row]]:
    """Yield line number and row; columns that mean nothing here are named in a warning."""
    try:
        columns, rows = _parquet(path) if path.suffix.casefold() != ".csv" else _csv(path)
    except OSError as error:
        raise AssayError(f"manifest {path} cannot be read: {error.strerror or error}") from None
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise AssayError(
            f"manifest {path} has no column {named(missing)}; its first line names {named(columns)}"
        )
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise AssayError(f"manifest {path} has two columns called {named(twice)}; remove one")
    if unknown := [name for name in columns if name not in _COLUMNS]:
        listing.warnings.append(f"{path.name}: columns without a meaning here were ignored: {named(unknown)}")
    yield from rows


def _usual(columns: list[str]) -> list[str]:
    """Return the names of columns, with `path` for what others call it where there is no `path`."""
    return columns if "path" in columns else [_OTHER_NAMES.get(name, name) for name in columns]


def _csv(path: Path) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    try:
        # A byte order mark, as spreadsheets write it, is no part of the first column's name.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AssayError(f"manifest {path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = _usual([name.strip() for name in next(reader, [])])
    except csv.Error as error:
        raise AssayError(f"{path}, line {reader.line_num}: {error}") from None
    return columns, _csv_rows(reader, columns, path)


def _csv_rows(reader: _Reader, columns: list[str], path: Path) -> Iterator[tuple[int, Row]]:
    try:
        for values in reader:
            if not any(values):
                continue
            if len(values) != len(columns):
                raise AssayError(
                    f"{path}, line {reader.line_num}: {len(values)} values for {len(columns)} columns; "
                    "put quotes around values with commas"
                )
            yield reader.line_num, dict(zip(columns, map(restore, values), strict=True))
    except csv.Error as error:
        raise AssayError(f"{path}, line {reader.line_num}: {error}") from None


def _parquet(path: Path) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    # Only those who bring Parquet pay for pyarrow.
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    try:
        table = parquet.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise AssayError(f"manifest {path} is no Parquet file that can be read: {error}") from None
    columns = _usual([str(name) for name in table.column_names])
    table = table.rename_columns(columns)
    known = table.select([place for place, name in enumerate(columns) if name in _COLUMNS])
    rows = (
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in known.to_pylist()
    )
    return columns, enumerate(rows, start=1)
