"""The photos of a Parquet file: a column of bytes, or of paths and URLs."""

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from assay.core.errors import AssayError
from assay.core.image_table_columns import COLUMN_NAMES, cell_text, normalize_name, recognize_columns
from assay.inference.prediction_tables import unicode_path
from assay.scale import storage

_PHOTO_NAMES: Final = (
    *("image", "img", "photo", "picture", "image_bytes", "img_bytes", "photo_bytes", "image_data", "img_data"),
    *("bytes", "data", "content", "jpg", "jpeg", "png", "webp"),
)
"""Usual names of columns of photos, in order of precedence, for files with several binary columns."""
_TEXT_NAMES: Final = frozenset(
    name for ranks in COLUMN_NAMES.values() for rank in ranks for name in rank if name not in _PHOTO_NAMES
)
"""Names of columns that contain text, which old Parquet files store as binary."""


class PhotoRef(NamedTuple):
    """Where a photo is."""

    source: str
    """Its name in the results."""
    file: str
    """Path or URL of the photo, or of the Parquet or tar file that contains it."""
    row: int | None = None
    """Row in the Parquet file, or first byte in the tar; None: `file` is the photo."""
    size: int | None = None
    """Bytes in the tar; None: `file` is no tar."""


def parquet_photos(file: str) -> Iterator[PhotoRef]:
    """Yield the photos of a Parquet file, row by row.

    They are named by the column `path` or `id`; rows without a name, and files without these columns, by `FILE#ROW`.

    Args:
        file: path or URL.

    Raises:
        AssayError: it cannot be read, contains no photos and no paths, or it is not clear which column contains them.
    """
    try:
        with storage.open_binary(file) as stream:
            table = parquet.ParquetFile(stream)
            schema = table.schema_arrow
            known = {meant: name for name, meant in recognize_columns(Path(file), schema.names).items()}
            images = image_column(schema, file)
            named: str | None
            if images is None:
                named = _path_column(schema, known.get("path"), file)
            else:
                wanted = [known[meant] for meant in ("path", "id") if known.get(meant, images) != images]
                named = next((name for name in wanted if not pa.types.is_nested(schema.field(name).type)), None)
            if named is None:
                yield from (
                    PhotoRef(unicode_path(f"{file}#{row}"), file, row) for row in range(table.metadata.num_rows)
                )
                return
            row = 0
            for batch in table.iter_batches(columns=[named]):
                for value in batch.column(0).to_pylist():
                    text = cell_text(value)
                    if images is None:
                        yield _path_in_table(file, text, row)
                    else:
                        yield PhotoRef(unicode_path(text or f"{file}#{row}"), file, row)
                    row += 1
    except pa.ArrowInvalid as error:
        raise AssayError(f"{file} is no Parquet file that can be read: {error_text(error)}") from None
    except (pa.ArrowException, OSError) as error:
        raise AssayError(f"{file} cannot be read ({error_text(error)}): check the file, or leave it out") from None


def image_column(schema: Any, file: str) -> str | None:
    """Return the column that contains images, by type and name; None if the file only contains paths.

    Args:
        schema: the Arrow schema of the file.
        file: its name, for messages.

    Raises:
        AssayError: several columns may contain the images.
    """
    found = [str(column.name) for column in schema if _may_be_images(column)]
    for name in _PHOTO_NAMES:
        if usual := [column for column in found if normalize_name(column) == name]:
            return usual[0]
    if len(found) > 1:
        raise AssayError(
            f"{file} has several columns that may contain the photos ({', '.join(found)}): name the right one 'image'"
        )
    return found[0] if found else None


def resolve_path(file: str, text: str) -> str:
    """Return the photo that a table names by a URL, or a path relative to the folder of the table."""
    if storage.is_url(text) or Path(text).is_absolute():
        return text
    return storage.join(posixpath.dirname(file) or ".", text)


def error_text(error: Exception) -> str:
    """Return the message of an error of Arrow or of a file in one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")


def _may_be_images(column: Any) -> bool:
    kind = column.type
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _is_binary(kind.field(place).type)
    return _is_binary(kind) and normalize_name(column.name) not in _TEXT_NAMES


def _is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _path_column(schema: Any, name: str | None, file: str) -> str:
    if name is None:
        columns = ", ".join(schema.names)
        raise AssayError(f"{file} has no column with photos or their paths; its columns are {columns}")
    kind = schema.field(name).type
    text = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (
        pa.types.is_string(text) or pa.types.is_large_string(text) or pa.types.is_string_view(text) or _is_binary(text)
    ):
        raise AssayError(f"{file}: the column '{name}' contains {kind}, neither photos nor paths: store paths as text")
    return name


def _path_in_table(file: str, text: str, row: int) -> PhotoRef:
    if not text:
        raise AssayError(f"{file}, row {row}: the path is empty; fill it in or remove the row")
    return PhotoRef(unicode_path(text), resolve_path(file, text))
