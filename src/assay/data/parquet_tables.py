"""Read Parquet files that hold image paths or the bytes of the images."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay.core.errors import AssayError
from assay.core.image_table_columns import cell_text, recognize_columns
from assay.core.image_table_reader import ImageTable, interpret_table
from assay.data.split_names import parse_split_names

PARQUET_SUFFIXES: Final = frozenset({".parquet", ".pq"})

_BATCH_ROWS: Final = 256
_KEPT_COLUMNS: Final = frozenset({"label", "split", "group", "source_label"})
_BYTES_COLUMNS: Final = ("bytes", "image_bytes", "content", "data", "jpeg", "jpg", "png")


@dataclass(frozen=True)
class ClassNames:
    """Class names of a label column's numbers, as in Hugging Face's `ClassLabel`."""

    names: list[str]
    """Empty: labels are used as they are."""


class ParquetImages:
    """The rows of a Parquet file that contains images, as a `assay.data.hf_datasets.RowDataset`.

    Columns are renamed to `image`, `label`, `split`, `group` and `source_label`; others are omitted.
    """

    def __init__(self, path: Path, columns: Mapping[str, str], names: list[str]) -> None:
        """Select columns: names in the file by the names used here; `names` are the classes of numeric labels."""
        self._path, self._columns = path, dict(columns)
        self.features: dict[str, ClassNames | None] = dict.fromkeys(self._columns)
        self.features["label"] = ClassNames(names)
        self.source = f"{path}, "

    def __len__(self) -> int:
        return int(_open_parquet(self._path).metadata.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        file = _open_parquet(self._path)
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(self._columns.values())):
            for row in batch.to_pylist():
                values = {name: row[column] for name, column in self._columns.items()}
                yield {**values, "image": self._picture(values["image"])}

    def _picture(self, value: Any) -> Any:
        if not isinstance(value, Mapping) or value.get("bytes"):
            return value
        # Without bytes, the path is that of a file beside the table.
        path = value.get("path")
        return self._path.parent / path if path and isinstance(path, str) else None


def read_parquet(path: Path) -> ImageTable:
    """Read a Parquet file as an image table; `AssayError` if invalid or as for `interpret_table`."""
    file = _open_parquet(path)
    columns = [str(name) for name in file.schema_arrow.names]
    known = recognize_columns(path, columns)
    label = next((name for name, meant in known.items() if meant == "label"), "")
    names = _class_names(file, label)
    rows = file.read(columns=list(known)).to_pylist()
    for row in rows if names else ():
        row[label] = _class_name(row[label], names)
    return interpret_table(path, columns, enumerate(rows, start=1), unit="row")


def parquet_columns(path: Path) -> list[str]:
    """Return the column names; `AssayError` if it is not a Parquet file."""
    return [str(name) for name in _open_parquet(path).schema_arrow.names]


def open_parquet_images(path: Path) -> ParquetImages | None:
    """Return the images in a Parquet file; None if it only contains paths.

    Raises:
        AssayError: it is not a Parquet file, has several image columns, or no label column.
    """
    import pyarrow as pa  # noqa: PLC0415

    file = _open_parquet(path)
    known = recognize_columns(path, [str(name) for name in file.schema_arrow.names])
    pictures = []
    for column in file.schema_arrow:
        kind = column.type
        inner = {kind.field(place).name for place in range(kind.num_fields)}
        struct = pa.types.is_struct(kind) and "bytes" in inner
        binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        usual = known.get(column.name) == "path" or column.name.casefold() in _BYTES_COLUMNS
        if struct or (binary and usual):
            pictures.append(column.name)
    if not pictures:
        return None
    if len(pictures) > 1:
        raise AssayError(f"{path} has several columns of photos, {', '.join(pictures)}; leave one")
    found = {meant: name for name, meant in known.items() if meant in _KEPT_COLUMNS}
    if "label" not in found:
        columns = ", ".join(file.schema_arrow.names)
        raise AssayError(f"{path} has photos but no column 'label'; its columns are {columns}")
    if found.get("split", "split") != "split" and not _are_splits(file, found["split"]):
        # A column `part` or `set` may have another meaning.
        del found["split"]
    return ParquetImages(path, {"image": pictures[0], **found}, _class_names(file, found["label"]))


def _open_parquet(path: Path) -> Any:
    # pyarrow is imported only for Parquet files.
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    try:
        return parquet.ParquetFile(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise AssayError(f"manifest {path} is no Parquet file that can be read: {error}") from None
    except OSError as error:
        raise AssayError(f"manifest {path} cannot be read: {error.strerror or error}") from None


def _are_splits(file: Any, column: str) -> bool:
    texts = {cell_text(value).strip() for value in file.read(columns=[column]).column(0).to_pylist()} - {""}
    return texts <= parse_split_names(texts).keys()


def _class_names(file: Any, label: str) -> list[str]:
    """Return the class names that Hugging Face's metadata gives for a column, if any."""
    try:
        features = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[label]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def _class_name(value: Any, names: list[str]) -> str | None:
    """Return the class for a number; None for missing values, also written as -1."""
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
