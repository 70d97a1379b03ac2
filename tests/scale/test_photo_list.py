"""Listing photos: folders, Parquet files of bytes and of paths, and an S3 server."""

from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from assay.core.errors import AssayError, UsageError
from assay.image.ignore_rules import SkippedFiles
from assay.scale.parquet_photos import image_column
from assay.scale.photo_list import PARTITION_PHOTOS, PhotoRef, list_photos, read_photo_list, write_photo_list


def _listed(*inputs: Path | str) -> list[PhotoRef]:
    return list(list_photos([str(name) for name in inputs], SkippedFiles()))


def test_partitions_contain_all_photos_in_order(many_photos: Path, tmp_path: Path):
    photos = _listed(many_photos)
    assert [Path(photo.file) for photo in photos] == sorted(many_photos.iterdir())
    assert write_photo_list(str(tmp_path), photos) == 600
    parts = [read_photo_list(str(tmp_path), number) for number in range(3)]
    assert [len(part) for part in parts] == [PARTITION_PHOTOS, PARTITION_PHOTOS, 88]
    assert [photo for part in parts for photo in part] == photos


def test_a_list_of_several_files(tmp_path: Path):
    count = 64 * PARTITION_PHOTOS + 1
    photos = [PhotoRef(f"{number}", f"\udce9/{number}", number if number % 2 else None) for number in range(count)]
    assert write_photo_list(str(tmp_path), photos) == count
    assert read_photo_list(str(tmp_path), 63) == photos[63 * PARTITION_PHOTOS : 64 * PARTITION_PHOTOS]
    assert read_photo_list(str(tmp_path), 64) == photos[-1:]


def test_parquet_files_of_a_folder_without_photos(tmp_path: Path):
    parquet.write_table(pa.table({"image": [b"a", b"b"], "id": ["x", "y"]}), tmp_path / "b.parquet")
    parquet.write_table(pa.table({"image": [b"c"], "label": ["cat"]}), tmp_path / "a.parquet")
    assert _listed(tmp_path) == [
        PhotoRef(f"{tmp_path}/a.parquet#0", f"{tmp_path}/a.parquet", 0),
        PhotoRef("x", f"{tmp_path}/b.parquet", 0),
        PhotoRef("y", f"{tmp_path}/b.parquet", 1),
    ]


def test_parquet_file_of_paths(tmp_path: Path):
    paths = ["sub/a.png", "/absolute/b.png", "s3://photos/c.png"]
    parquet.write_table(pa.table({"file_name": paths}), tmp_path / "paths.parquet")
    assert _listed(tmp_path / "paths.parquet") == [
        PhotoRef("sub/a.png", f"{tmp_path}/sub/a.png"),
        *[PhotoRef(path, path) for path in paths[1:]],
    ]


def test_relative_paths_are_found_from_other_folders(many_photos: Path, tmp_path: Path, monkeypatch):
    parquet.write_table(pa.table({"path": ["a.png"]}), tmp_path / "paths.parquet")
    parquet.write_table(pa.table({"image": [b"a"]}), tmp_path / "bytes.parquet")
    monkeypatch.chdir(tmp_path)
    assert _listed("paths.parquet", "bytes.parquet") == [
        PhotoRef("a.png", f"{tmp_path}/a.png"),
        PhotoRef("bytes.parquet#0", f"{tmp_path}/bytes.parquet", 0),
    ]
    monkeypatch.chdir(many_photos.parent)
    assert _listed("photos")[0] == PhotoRef("photos/000.png", f"{many_photos}/000.png")


def test_rows_have_names(tmp_path: Path):
    file = tmp_path / "table.parquet"
    parquet.write_table(pa.table({"image": [b"x"] * 4, "id": ["a", None, "", "a"]}), file)
    assert [photo.source for photo in _listed(file)] == ["a", f"{file}#1", f"{file}#2", "a"]
    parquet.write_table(pa.table({"image": [b"x"], "id": [[1, 2]]}), file)
    assert _listed(file)[0].source == f"{file}#0"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"image": pa.binary()}, "image"),
        ({"x": pa.binary_view()}, "x"),
        ({"x": pa.large_binary()}, "x"),
        ({"sha256": pa.binary(), "Image": pa.binary()}, "Image"),
        ({"embedding": pa.binary(), "jpg": pa.large_binary()}, "jpg"),
        ({"path": pa.binary(), "label": pa.binary()}, None),
        ({"id": pa.binary(), "scan": pa.binary()}, "scan"),
        ({"image": pa.struct([("bytes", pa.binary()), ("path", pa.string())])}, "image"),
        ({"image": pa.struct([("bytes", pa.int64())])}, None),
        ({"image": pa.string()}, None),
    ],
)
def test_the_column_with_images(columns: dict[str, pa.DataType], expected: str | None):
    assert image_column(pa.schema(list(columns.items())), "a.parquet") == expected


def test_old_files_store_text_as_binary(tmp_path: Path):
    table = pa.table({"path": [b"a.png", b"\xe9.png"], "label": [b"cat", b"dog"]})
    parquet.write_table(table, tmp_path / "old.parquet")
    assert _listed(tmp_path / "old.parquet") == [
        PhotoRef("a.png", f"{tmp_path}/a.png"),
        PhotoRef("\\xe9.png", f"{tmp_path}/\udce9.png"),
    ]


def test_predictions_of_earlier_runs_are_no_inputs(bucket: str, tmp_path: Path):
    table = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"image": [b"x"]}), table)
    for name in ("_assay.json", "_photos/00000.parquet", "part-000000.parquet"):
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "out" / name).write_bytes(table.read_bytes())
    fsspec.filesystem("s3").put(str(tmp_path), "photos/with-predictions/", recursive=True)
    assert [photo.file for photo in _listed(tmp_path)] == [str(table)]
    (found,) = _listed(f"{bucket}/with-predictions")
    assert found.file.endswith("/a.parquet")
    with pytest.raises(UsageError, match="contains no photos"):
        _listed(tmp_path / "out")


def test_object_store(bucket: str, tmp_path: Path):
    files = fsspec.filesystem("s3")
    for name in ("b.JPG", "a/c.png", "a/notes.txt", ".hidden/d.png", "table.parquet"):
        files.pipe_file(f"photos/list/{name}", b"x")
    assert [photo.file for photo in _listed(f"{bucket}/list")] == [f"{bucket}/list/b.JPG", f"{bucket}/list/a/c.png"]
    assert _listed(f"{bucket}/list/a/notes.txt") == [
        PhotoRef(f"{bucket}/list/a/notes.txt", f"{bucket}/list/a/notes.txt")
    ]
    target = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"image": [b"a", b"b"]}), target)
    files.put_file(target, "photos/rows/rows.parquet")
    assert [photo.row for photo in _listed(f"{bucket}/rows")] == [0, 1]


def test_what_is_refused(bucket: str, tmp_path: Path):
    with pytest.raises(UsageError, match="s3://photos/nothing does not exist: check the spelling"):
        _listed(f"{bucket}/nothing")
    with pytest.raises(UsageError, match="s3://no-bucket does not exist"):
        _listed("s3://no-bucket")
    fsspec.filesystem("s3").pipe_file("photos/texts/notes.txt", b"x")
    with pytest.raises(UsageError, match="s3://photos/texts contains no photos"):
        _listed(f"{bucket}/texts")
    with pytest.raises(UsageError, match="abfs://a/b needs adlfs: pip install adlfs"):
        _listed("abfs://a/b")
    with pytest.raises(UsageError, match="nope://a/b has an unknown scheme"):
        _listed("nope://a/b")
    parquet.write_table(pa.table({"width": [1]}), tmp_path / "other.parquet")
    with pytest.raises(AssayError, match="no column with photos or their paths; its columns are width"):
        _listed(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("x", encoding="utf-8")
    with pytest.raises(AssayError, match="is no Parquet file"):
        _listed(tmp_path / "text.parquet")
    parquet.write_table(pa.table({"path": [1]}), tmp_path / "numbers.parquet")
    with pytest.raises(AssayError, match="the column 'path' contains int64, neither photos nor paths"):
        _listed(tmp_path / "numbers.parquet")
    parquet.write_table(pa.table({"left": [b"x"], "right": [b"y"]}), tmp_path / "two.parquet")
    with pytest.raises(
        AssayError, match=r"several columns that may contain the photos \(left, right\): name the right"
    ):
        _listed(tmp_path / "two.parquet")
    with pytest.raises(UsageError, match=r"s3://photos/\*.png does not exist: URLs cannot contain wildcards"):
        _listed(f"{bucket}/*.png")
    parquet.write_table(pa.table({"path": ["a.png"] * 999}), tmp_path / "damaged.parquet", use_dictionary=False)
    content = bytearray((tmp_path / "damaged.parquet").read_bytes())
    content[30:60] = b"\xff" * 30
    (tmp_path / "damaged.parquet").write_bytes(content)
    with pytest.raises(AssayError, match=r"damaged.parquet cannot be read \(.*\): check the file, or leave it out"):
        _listed(tmp_path / "damaged.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="contains no photos"):
        _listed(tmp_path / "empty")


def test_an_empty_path_is_not_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.tar").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="path of a photo is empty"):
        list(list_photos([""], SkippedFiles()))
