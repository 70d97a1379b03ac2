"""Accept Hugging Face `datasets.Dataset` objects as data: rows are written once as files with a manifest."""

import hashlib
import io
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from PIL import Image

from assay.core.errors import AssayError, UsageError
from assay.core.files import atomic_write, cache_folder, read_bytes, write_text
from assay.core.image_table_columns import cell_text, is_missing
from assay.core.printable_text import is_unicode
from assay.core.progress import Progress, no_progress
from assay.core.tables import SafeCsvWriter
from assay.data.parquet_tables import PARQUET_SUFFIXES, ParquetImages, open_parquet_images
from assay.data.split_names import parse_split_name, parse_split_names
from assay.image import HEAD_BYTES, sniff


@runtime_checkable
class RowDataset(Protocol):
    """A `datasets.Dataset` or similar object: `features` describes the columns, iteration yields rows.

    The image column has a feature of class `Image` or is called `image`; the label column a `ClassLabel` or is
    called `label`. An image is a Pillow image, a file's bytes, a path, or a mapping with `bytes` or `path`. The
    columns `group` and `source_label` are kept, as in a manifest.
    """

    @property
    def features(self) -> Any:
        """Type of every column, by name."""

    def __iter__(self) -> Iterator[Any]:
        """Yield rows: mappings from column to value."""


DataSource = str | Path | RowDataset | Mapping[str, RowDataset]
"""A path that `scan` reads, rows, or rows by name of their split (`datasets.DatasetDict`)."""

TABLE_IMAGES_FOLDER = "tables"
"""Cache subfolder for images of tables without another location."""

_KEPT_COLUMNS = ("group", "source_label")
_TIFF_MODES = frozenset({"CMYK", "YCbCr", "LAB"})  # Pillow modes that PNG does not support


class _Row(NamedTuple):
    picture: bytes
    split: str
    label: str
    kept: tuple[str, ...]


def as_path(data: DataSource, folder: Path, progress: Progress = no_progress) -> Path:
    """Return the path of the data; rows and Parquet files that contain images are written as files first.

    Rows are written into `folder`/`data-DIGEST`, once per content.

    Args:
        data: see `DataSource`. A mapping with a single entry has no splits.
        folder: parent of the written folder.
        progress: called with the step, the number done and the total.

    Returns:
        `data` itself if it is a path to files, otherwise a manifest.

    Raises:
        UsageError: `data` has another type, no column of images or labels, or a split that is none of train,
            validation and test.
        AssayError: there are no rows, or a row has no image, no label or an unknown split.
    """
    if isinstance(data, str | Path):
        path = Path(data)
        photos = open_parquet_images(path) if path.suffix.casefold() in PARQUET_SUFFIXES and path.is_file() else None
        if photos is None:
            return path
        data = photos
    parts = _split_rows(data)
    digest, empty = hashlib.sha256(), True
    for split, rows in parts.items():
        for number, row in enumerate(_read(rows, split)):
            empty = False
            digest.update(hashlib.sha256(row.picture).digest() + repr(row[1:]).encode())
            progress("reading rows", number + 1, _count(rows))
    if empty:
        name = data.source.removesuffix(", ") if isinstance(data, ParquetImages) else "the data"
        raise AssayError(f"{name} has no rows; add one for each photo")
    target = folder / f"data-{digest.hexdigest()[:12]}"
    manifest = target / "manifest.csv"
    if not manifest.is_file():
        _write(parts, manifest, progress)
    return manifest


def clear_table_images() -> int:
    """Delete the images of tables written into the cache; return the bytes freed."""
    given_back = 0
    for folder in (cache_folder() / TABLE_IMAGES_FOLDER).glob("data-*"):
        given_back += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder)
    return given_back


def _split_rows(data: object) -> dict[str, RowDataset]:
    """Return rows by split; the key is empty if there are no splits."""
    if isinstance(data, Mapping):
        rows = {str(name): part for name, part in data.items() if isinstance(part, RowDataset)}
        if rows and len(rows) == len(data):
            return {"": next(iter(rows.values()))} if len(rows) == 1 else _by_split(rows)
    elif isinstance(data, RowDataset):
        return {"": data}
    raise UsageError(f"data must be a path, a datasets.Dataset or a datasets.DatasetDict, not {type(data).__name__}")


def _by_split(rows: Mapping[str, RowDataset]) -> dict[str, RowDataset]:
    splits = parse_split_names(rows)
    parts = {str(splits[name]): part for name, part in rows.items() if name in splits}
    if len(parts) < len(rows):
        raise UsageError(f"splits must be called train, validation and test, not {', '.join(rows)}")
    return parts


def _read(rows: RowDataset, split: str) -> Iterator[_Row]:
    features: Mapping[str, Any] = rows.features or {}
    image, label = _column(features, "Image", "image"), _column(features, "ClassLabel", "label")
    names = getattr(features[label], "names", None)
    source = rows.source if isinstance(rows, ParquetImages) else ""
    for number, row in enumerate(_without_decoding(rows, image, features[image])):
        where = f"{source}row {number + 1}" + (f" of {split}" if split else "")
        value = row[label]
        if names and isinstance(value, int):
            # Hugging Face writes -1 where a label is not known.
            text = str(names[value]) if 0 <= value < len(names) else ""
        elif isinstance(value, list | tuple | Mapping):
            raise AssayError(f"{where} has a label of several values; give one text or number")
        else:
            text = "" if is_missing(cell_text(value)) else cell_text(value).strip()
        if not text:
            raise AssayError(f"{where} has no label; fill it in, or filter such rows out")
        part = _cell_or_empty(row.get("split")) if isinstance(rows, ParquetImages) else split
        if part and parse_split_name(part) is None:
            raise AssayError(f"{where}: split {part!r} is none of train, val and test; correct it or leave it empty")
        kept = tuple(_cell_or_empty(row.get(name)) for name in _KEPT_COLUMNS)
        for value in (text, *kept):
            if not is_unicode(value):
                raise AssayError(f"{where}: {value!r} is no Unicode text; correct it")
        yield _Row(_image_bytes(row[image], where), part, text, kept)


def _cell_or_empty(value: object) -> str:
    """Return a split or group, or an empty string if it is missing, such as NaN."""
    text = cell_text(value).strip()
    return "" if is_missing(text) else text


def _column(features: Mapping[str, Any], kind: str, usual: str) -> str:
    found = [name for name, feature in features.items() if type(feature).__name__ == kind]
    if usual in found or (usual in features and not found):
        return usual
    if len(found) != 1:
        raise UsageError(
            f"the data has {len(found) or 'no'} columns of the kind {kind} and none is called {usual!r}; "
            f"rename one of {', '.join(features) or 'its columns'}"
        )
    return found[0]


def _without_decoding(rows: RowDataset, image: str, feature: Any) -> RowDataset:
    """Request the bytes of the files instead of decoded images, if the rows support it."""
    cast = getattr(rows, "cast_column", None)
    if cast is None or type(feature).__name__ != "Image":
        return rows
    undecoded: RowDataset = cast(image, type(feature)(decode=False))
    return undecoded


def _image_bytes(value: Any, where: str) -> bytes:
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str | Path):
        try:
            return read_bytes(Path(value))
        except OSError as error:
            raise AssayError(f"{where}: {value} cannot be read: {error.strerror or error}") from None
    if isinstance(value, bytes):
        return value
    if not isinstance(value, Image.Image):
        raise AssayError(f"{where} has no picture but {type(value).__name__}; give images")
    file = io.BytesIO()
    value.save(file, "TIFF" if value.mode in _TIFF_MODES else "PNG")
    return file.getvalue()


def _write(parts: Mapping[str, RowDataset], manifest: Path, progress: Progress) -> None:
    """Write the images, then the manifest, whose existence marks them as complete."""
    text = io.StringIO()
    table = SafeCsvWriter(text, exact=True)
    table.writerow(("id", "path", "label", "split", *_KEPT_COLUMNS))
    for split, rows in parts.items():
        for number, row in enumerate(_read(rows, split)):
            kind = sniff(row.picture[:HEAD_BYTES]) or "bin"
            name = f"{split or 'photos'}/{number:06}.{kind}"
            with atomic_write(manifest.parent / name) as temporary:
                temporary.write_bytes(row.picture)
            table.writerow((name, name, row.label, row.split, *row.kept))
            progress("writing rows", number + 1, _count(rows))
    write_text(manifest, text.getvalue())


def _count(rows: RowDataset) -> int:
    length = getattr(rows, "__len__", None)
    return int(length()) if length is not None else 0
