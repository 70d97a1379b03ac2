"""Manifests, other tables, and folders with metadata files."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from assay.core.errors import AssayError
from assay.data import load_dataset
from assay.data.dataset import SPLITS, Dataset, Sample
from assay.data.manifest import read_manifest, write_manifest
from assay.data.tensor_files import TensorRef

TEXT = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)


def write(folder: Path, text: str, name: str = "table.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def test_minimal_table(tmp_path: Path) -> None:
    data = read_manifest(write(tmp_path, "path,label\nb/2.jpg,open\n./a/1.jpg,closed\n"))
    assert data.classes == ("closed", "open")
    assert [(item.id, item.path, item.split, item.group) for item in data.samples] == [
        ("a/1.jpg", tmp_path / "a/1.jpg", None, None),
        ("b/2.jpg", tmp_path / "b/2.jpg", None, None),
    ]
    assert read_manifest(tmp_path / "table.csv", classes=["open", "closed"]).classes == ("open", "closed")


def test_all_columns_in_any_order_with_quotes_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = 'group,label,split,path,source_label\n"g, 1"," open ",VALID,"a, ""b"".jpg",half open\n,x,,/abs/é.jpg,\n'
    data = read_manifest(write(tmp_path, text, encoding="utf-8-sig"))
    outside, inside = data.samples
    assert (inside.id, inside.label, inside.split, inside.group, inside.source_label) == (
        'a, "b".jpg',
        "open",
        "val",
        "g, 1",
        "half open",
    )
    assert (outside.id, outside.path, outside.split) == ("/abs/é.jpg", Path("/abs/é.jpg"), None)


def test_absolute_paths_below_the_manifest_have_relative_ids(tmp_path: Path) -> None:
    data = read_manifest(write(tmp_path, f"path,label\n{tmp_path}/a/1.jpg,open\n"))
    assert data.samples[0].id == "a/1.jpg"


def test_unknown_columns_are_named_and_duplicate_rows_counted(tmp_path: Path) -> None:
    data = read_manifest(write(tmp_path, "path,label,camera,Note\n1.jpg,a,x,y\n2.jpg,b,x,y\n\n1.jpg,a,z,z\n"))
    assert len(data) == 2
    assert data.skipped == {"repeated row of a manifest": 1}
    assert data.warnings == (
        "table.csv: columns without a meaning here were ignored: 'camera', 'Note'",
        "table.csv repeats 1 row; each photo is used once",
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,kind\n1.jpg,a\n", "has no column 'label'; its first line names 'path', 'kind'"),
        ("", "has no column 'path', 'label'"),
        ("path,label\n", "has no rows"),
        ("path,label,label\n1.jpg,a,b\n", "has two columns called 'label'"),
        ("path,label\n1.jpg,a\n2.jpg,\n", "line 3: label is empty"),
        ("path,label\n ,a\n", "line 2: path is empty"),
        ("path,label\n1.jpg,a\n2,5.jpg,b\n", "line 3: 3 values for 2 columns"),
        ("path,label,split\n1.jpg,a,monday\n", "line 2: split 'monday' is none of 'train', 'val', 'test'"),
        (
            "path,label\n1.jpg,a\n2.jpg,b\n./1.jpg,b\n",
            r"line 4: ./1.jpg stands in line 2 too, with another label \('a'",
        ),
        (
            "path,label,split\n1.jpg,a,train\n1.jpg,a,test\n",
            "line 3: 1.jpg stands in line 2 too, with another split",
        ),
        ("id,path,label\nx,1.jpg,a\nx,2.jpg,a\n", "line 3: the id 'x' stands in line 2 too"),
        ('path,label\n"1.jpg,a\n', "line 2: a quote is opened and never closed"),
        ("path,label\n1\0.jpg,a\n", "line 2: path holds a zero byte"),
        ("path,label\n1.jpg,a\n2.jpg,A\n", "differ only in case"),
        ("path,label,tensor\n1.npy,a,float\n", "line 2: tensor 'float' is not one of"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(AssayError, match=sentence):
        read_manifest(write(tmp_path, text))


def test_tables_in_another_encoding_or_missing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_bytes("path,label\né.jpg,a\n".encode() + b"\xe9.jpg,b\n")
    with pytest.raises(AssayError, match="is not UTF-8 at byte 20"):
        read_manifest(broken)
    with pytest.raises(AssayError, match="cannot be read: No such file"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(AssayError, match="is no Parquet file"):
        read_manifest(write(tmp_path, "path,label\n", name="table.parquet"))


def test_parquet_with_numbers_as_labels(tmp_path: Path) -> None:
    table = pa.table({"path": ["1.jpg", "2.jpg"], "label": [0, 10], "split": ["train", None], "extra": [{}, {}]})
    parquet.write_table(table.drop_columns("extra"), tmp_path / "table.parquet")
    data = read_manifest(tmp_path / "table.parquet")
    assert [(item.label, item.split) for item in data.samples] == [("0", "train"), ("10", None)]


def test_column_called_part_can_mean_something_else(tmp_path: Path) -> None:
    data = read_manifest(write(tmp_path, "path,label,part\n1.jpg,a,left door\n2.jpg,b,train\n"))
    assert {item.split for item in data.samples} == {None}
    assert "'part'" in data.warnings[0]
    data = read_manifest(write(tmp_path, "path,label,Usage\n1.jpg,a,Training\n2.jpg,b,dev\n3.jpg,b,eval\n"))
    assert [item.split for item in data.samples] == ["train", "val", "test"]


@pytest.mark.parametrize("name", ["none", "nan", "1.0", "TRUE", "NA", " null"])
def test_manifest_written_by_assay_is_read_literally(tmp_path: Path, name: str) -> None:
    samples = tuple(Sample(f"{label}/ 1", tmp_path / label / " 1", label.strip()) for label in (name, "2"))
    write_manifest(Dataset(tmp_path, (name.strip(), "2"), samples), tmp_path / "manifest.csv")
    assert set(read_manifest(tmp_path / "manifest.csv").samples) == set(samples)


def test_no_empty_columns_are_written_and_order_is_by_id(tmp_path: Path) -> None:
    samples = (Sample("a/1", tmp_path / "a/1", "x", "train"), Sample("b", Path("/far/b"), "y"))
    write_manifest(Dataset(tmp_path, ("x", "y"), samples), tmp_path / "manifest.csv")
    text = (tmp_path / "manifest.csv").read_text()
    assert text == "id,path,label,split\na/1,a/1,x,train\nb,/far/b,y,\n"


FIELD = st.none() | TEXT


@given(
    st.dictionaries(
        TEXT.filter(lambda name: name not in {".", ".."} and "/" not in name),
        st.tuples(
            st.sampled_from([*SPLITS, None]),
            FIELD,
            FIELD,
            st.sampled_from([None, "ab" * 32]),
            st.sampled_from([None, TensorRef("imagenet"), TensorRef("uint8", 3)]),
        ),
        min_size=1,
    ),
    st.booleans(),
)
def test_manifest_survives_a_round_trip(fields: dict[str, tuple[Any, ...]], beside: bool) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        root = folder if beside else Path("/photos")
        samples = [Sample(f"photos/{item}", root / item, "label", *rest) for item, rest in fields.items()]
        written = Dataset(folder, ("label",), ()).with_samples(samples)
        write_manifest(written, folder / "manifest.csv")
        assert read_manifest(folder / "manifest.csv") == replace(written, root=folder)


def test_split_names_of_contests_and_unknown_names(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,label,Usage\n1.png,a,Training\n2.png,b,PublicTest\n3.png,a,PrivateTest\n")
    assert [sample.split for sample in read_manifest(path).samples] == ["train", "val", "test"]
    path.write_text("image,label,Usage\n1.png,a,Training\n2.png,b,Foo\n")
    with pytest.raises(AssayError, match="line 3: Usage 'Foo' is none of"):
        read_manifest(path)


def _photos(folder: Path, *colours: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for colour in colours:
        Image.new("RGB", (8, 8), colour).save(folder / f"{colour}.png")


def _labels(folder: Path, *lines: str) -> None:
    (folder / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")


def test_metadata_labels_a_flat_folder(tmp_path: Path):
    _photos(tmp_path, "red", "blue")
    _labels(tmp_path, "file_name,label", "red.png,warm", "blue.png,cold")
    assert {item.id: item.label for item in load_dataset(tmp_path).samples} == {"red.png": "warm", "blue.png": "cold"}


def test_each_split_can_have_its_own_metadata(tmp_path: Path):
    for part in ("train", "validation"):
        _photos(tmp_path / part, "red", "blue")
        _labels(tmp_path / part, "file_name,label", "red.png,warm", "blue.png,cold")
    dataset = load_dataset(tmp_path)
    assert [(item.id, item.split) for item in dataset.samples] == [
        ("train/blue.png", "train"),
        ("train/red.png", "train"),
        ("validation/blue.png", "val"),
        ("validation/red.png", "val"),
    ]
    assert dataset.classes == ("cold", "warm")


def test_metadata_without_labels_keeps_folder_labels(tmp_path: Path):
    _photos(tmp_path / "warm", "red")
    _photos(tmp_path / "cold", "blue")
    _labels(tmp_path, "file_name,width", "warm/red.png,8")
    assert load_dataset(tmp_path).classes == ("cold", "warm")


def test_split_without_metadata_beside_others_is_named(tmp_path: Path):
    _photos(tmp_path / "train", "red", "blue")
    _labels(tmp_path / "train", "file_name,label", "red.png,warm", "blue.png,cold")
    _photos(tmp_path / "test" / "warm", "red")
    with pytest.raises(AssayError, match=r"test has no metadata\.csv with labels"):
        load_dataset(tmp_path)


def test_metadata_can_be_json_lines(tmp_path: Path):
    for part in ("train", "dev"):
        _photos(tmp_path / part, "red", "blue")
        lines = ['{"file_name": "red.png", "label": "warm"}', '{"file_name": "blue.png", "label": "cold"}']
        (tmp_path / part / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    dataset = load_dataset(tmp_path)
    assert [(item.id, item.split, item.label) for item in dataset.samples] == [
        ("dev/blue.png", "val", "cold"),
        ("dev/red.png", "val", "warm"),
        ("train/blue.png", "train", "cold"),
        ("train/red.png", "train", "warm"),
    ]
    _labels(tmp_path / "dev", "file_name,label", "red.png,cold")
    with pytest.raises(AssayError, match=r"metadata\.csv and metadata\.jsonl both have labels"):
        load_dataset(tmp_path)


def test_metadata_in_another_csv_dialect(tmp_path: Path):
    _photos(tmp_path, "red", "blue")
    _labels(tmp_path, "File_Name;Label", "red.png;1.0", "blue.png; 0.0")
    assert load_dataset(tmp_path).classes == ("0", "1")


def test_manifest_with_a_file_name_column(tmp_path: Path):
    _photos(tmp_path, "red", "blue")
    (tmp_path / "list.csv").write_text("file_name,label\nred.png,a\nblue.png,b\n", encoding="utf-8")
    assert len(load_dataset(tmp_path / "list.csv")) == 2
