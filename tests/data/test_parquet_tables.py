"""Parquet files with images: as written by Hugging Face, and plain binary columns."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as Pillow
from pyarrow import parquet

from assay.core.errors import AssayError
from assay.data import load_dataset
from assay.data.check import check
from assay.data.hf_datasets import clear_table_images

COLOURS = ("red", "blue", "green", "black")


def _png(colour: str) -> bytes:
    stream = io.BytesIO()
    Pillow.new("RGB", (8, 8), colour).save(stream, "PNG")
    return stream.getvalue()


def _write(file: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), file)
    return file


def test_parquet_written_by_hugging_face(tmp_path: Path) -> None:
    rows = {"image": [{"bytes": _png(item), "path": None} for item in COLOURS], "label": [0, 1, 1, 0]}
    features = Features({"image": Image(), "label": ClassLabel(names=["cold", "none"])})
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "photos.parquet")
    data = load_dataset(tmp_path / "photos.parquet")
    assert data.counts() == {"cold": 2, "none": 2}
    assert sorted(sample.read() for sample in data.samples) == sorted(map(_png, COLOURS))
    assert not list(tmp_path.glob("photos/*")), "nothing is written beside the table"
    assert load_dataset(tmp_path / "photos.parquet").fingerprint == data.fingerprint
    assert check(tmp_path / "photos.parquet").photos == 4
    assert clear_table_images() > 0
    assert not any(sample.path.exists() for sample in data.samples)


@pytest.mark.parametrize("name", ["image", "bytes", "image_bytes", "img"])
def test_plain_binary_columns(tmp_path: Path, name: str) -> None:
    columns = {name: [_png(item) for item in COLOURS], "Class": [1.0, 2.0, 1.0, 2.0], "id": [1, 2, 3, 4]}
    data = load_dataset(_write(tmp_path / "photos.parquet", **columns))
    assert data.counts() == {"1": 2, "2": 2}


def test_structs_can_refer_to_files_beside_the_table(tmp_path: Path) -> None:
    for colour in COLOURS:
        (tmp_path / f"{colour}.png").write_bytes(_png(colour))
    image = [{"bytes": None, "path": f"{colour}.png"} for colour in COLOURS]
    data = load_dataset(
        _write(
            tmp_path / "p.pq",
            image=pa.array(image, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            label=list("abab"),
            split=["train", "dev", "train", "test"],
        )
    )
    assert sorted(sample.read() for sample in data.samples) == sorted(map(_png, COLOURS))
    assert sorted(str(sample.split) for sample in data.samples) == ["test", "train", "train", "val"]


@pytest.mark.parametrize("label", [None, float("nan")])
def test_image_without_a_label_is_named(tmp_path: Path, label: float | None) -> None:
    with pytest.raises(AssayError, match=r"photos\.parquet, row 2 has no label"):
        load_dataset(_write(tmp_path / "photos.parquet", image=[_png("red"), _png("blue")], label=[1.0, label]))


def test_label_index_out_of_range_raises(tmp_path: Path) -> None:
    rows = {"image": [{"bytes": _png("red"), "path": None}], "label": [-1]}
    table = pa.table(rows).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["a"], "_type": "ClassLabel"}}}})}
    )
    parquet.write_table(table, tmp_path / "photos.parquet")
    with pytest.raises(AssayError, match="row 1 has no label"):
        load_dataset(tmp_path / "photos.parquet")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"image": [b"x"], "jpeg": [b"y"], "label": ["a"]}, "several columns of photos, image, jpeg"),
        ({"image": [b"x"], "kind": ["a"]}, "has photos but no column 'label'; its columns are image, kind"),
        ({"path": ["1.jpg"], "label": [None]}, "row 1: label is empty"),
    ],
)
def test_invalid_tables_are_rejected(tmp_path: Path, columns: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AssayError, match=sentence):
        load_dataset(_write(tmp_path / "photos.parquet", **columns))


def test_class_names_apply_to_paths_in_parquet(tmp_path: Path) -> None:
    for colour in COLOURS:
        (tmp_path / f"{colour}.png").write_bytes(_png(colour))
    features = Features({"file": Value("string"), "label": ClassLabel(names=["cold", "warm"])})
    rows = {"file": [f"{colour}.png" for colour in COLOURS], "label": [0, 1, 1, 0]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "paths.parquet")
    assert load_dataset(tmp_path / "paths.parquet").counts() == {"cold": 2, "warm": 2}


def _photos(count: int = 4) -> list[dict[str, Any]]:
    return [{"bytes": _png(item), "path": None} for item in COLOURS[:count]]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"image": _photos(), "label": [[0], [1], [0, 1], [1]]}, "row 1 has a label of several values"),
        ({"image": _photos(2), "label": [b"a", b"\xff"]}, "row 2: .* is no Unicode text"),
        ({"image": [{"bytes": None, "path": 5}], "label": [0]}, "row 1 has no picture"),
        (
            {"image": _photos(), "label": [0, 1, 0, 1], "split": ["train", "foo", "test", "test"]},
            "p.parquet, row 2: split 'foo' is none of train, val and test",
        ),
        (
            {
                "image": pa.array([], pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
                "label": pa.array([], pa.int64()),
            },
            "p.parquet has no rows",
        ),
    ],
)
def test_errors_name_the_parquet_file(tmp_path: Path, columns: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AssayError, match=sentence):
        load_dataset(_write(tmp_path / "p.parquet", **columns))


@pytest.mark.parametrize("labels", [pa.array([b"1", b"2"] * 2), pa.array([1, 2] * 2).cast(pa.decimal128(25, 2))])
def test_labels_of_other_types_become_text(tmp_path: Path, labels: Any) -> None:
    assert load_dataset(_write(tmp_path / "p.parquet", image=_photos(), label=labels)).classes == ("1", "2")


def test_missing_groups_are_not_a_group(tmp_path: Path) -> None:
    groups = [None, "a", "nan", "NaN"]
    data = load_dataset(_write(tmp_path / "p.parquet", image=_photos(), label=[0, 1, 0, 1], group=groups))
    assert sorted(str(sample.group) for sample in data.samples) == ["None", "None", "None", "a"]
