"""Labels in a manifest: setting, undoing, and merging into a data set."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import UsageError
from assay.data import read_manifest
from assay.serving.web.label_candidates import LabelCandidate
from assay.serving.web.label_store import LabelStore


def _photo(folder: Path, name: str, *, temporary: bool = False) -> LabelCandidate:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(name.encode())
    return LabelCandidate(folder / name, "red", "", temporary)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_labels_form_a_manifest_for_training(tmp_path: Path):
    labels = LabelStore(tmp_path / "labels.csv")
    labels.set_label(_photo(tmp_path / "in", "one, two.png"), "blue")
    labels.set_label(_photo(tmp_path / "in", "ü.png"), "red")
    assert _rows(tmp_path / "labels.csv")[0] == {"path": "in/one, two.png", "label": "blue"}
    samples = read_manifest(tmp_path / "labels.csv").samples
    assert {item.path.name: item.label for item in samples} == {"one, two.png": "blue", "ü.png": "red"}


def test_second_label_replaces_the_first_and_undo_removes_it(tmp_path: Path):
    labels, photo = LabelStore(tmp_path / "labels.csv"), _photo(tmp_path, "a.png")
    labels.set_label(photo, "blue")
    labels.set_label(photo, "red")
    assert labels.labels() == {tmp_path / "a.png": "red"}
    labels.delete_label(photo)
    labels.delete_label(photo)
    assert labels.labels() == {}
    assert photo.path.exists()


def test_temporary_photos_are_copied_until_their_label_is_removed(tmp_path: Path):
    labels, photo = LabelStore(tmp_path / "out" / "labels.csv"), _photo(tmp_path / "kept", "a.png", temporary=True)
    labels.set_label(photo, "blue")
    photo.path.unlink()
    assert (tmp_path / "out" / "photos" / "a.png").read_bytes() == b"a.png"
    assert _rows(labels.path) == [{"path": "photos/a.png", "label": "blue"}]
    labels.delete_label(photo)
    assert not list((tmp_path / "out" / "photos").iterdir())


def test_missing_photo_gets_no_label(tmp_path: Path):
    labels, photo = LabelStore(tmp_path / "labels.csv"), _photo(tmp_path / "kept", "a.png", temporary=True)
    photo.path.unlink()
    with pytest.raises(FileNotFoundError):
        labels.set_label(photo, "blue")
    assert labels.labels() == {}
    assert not list((tmp_path / "photos").iterdir())


def test_labels_are_merged_into_a_data_set(tmp_path: Path):
    suspect, new = _photo(tmp_path / "data", "a.png"), _photo(tmp_path / "kept", "n.png", temporary=True)
    _photo(tmp_path / "data", "b.png")
    data = tmp_path / "data" / "manifest.csv"
    data.write_text("id,path,label,split\na.png,a.png,red,train\nb.png,b.png,red,test\n", encoding="utf-8")
    before = data.read_bytes()
    labels = LabelStore(tmp_path / "labels" / "labels.csv", data)
    labels.set_label(suspect, "blue")
    labels.set_label(new, "green")
    assert labels.merged_path is not None
    result = {item.path.name: (item.label, item.split) for item in read_manifest(labels.merged_path).samples}
    assert result == {"a.png": ("blue", "train"), "b.png": ("red", "test"), "n.png": ("green", None)}
    labels.delete_label(suspect)
    assert {item.label for item in read_manifest(labels.merged_path).samples} == {"red", "green"}
    assert data.read_bytes() == before


def test_two_workers_share_a_manifest(tmp_path: Path):
    item, other = LabelStore(tmp_path / "labels.csv"), LabelStore(tmp_path / "labels.csv")
    item.set_label(_photo(tmp_path, "a.png"), "red")
    other.set_label(_photo(tmp_path, "b.png"), "blue")
    item.set_label(_photo(tmp_path, "c.png"), "red")
    assert [path.name for path in other.labels()] == ["a.png", "b.png", "c.png"]


@given(
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["red", "blue", None])), max_size=8),
)
def test_manifest_contains_the_latest_labels(steps: list[tuple[str, str | None]], tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    labels, expected = LabelStore(folder / "labels.csv"), {}
    for name, label in steps:
        photo = LabelCandidate(folder / name, "red", "")
        if label is None:
            labels.delete_label(photo)
            expected.pop(folder / name, None)
        else:
            labels.set_label(photo, label)
            expected[folder / name] = label
    assert labels.labels() == expected


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe", b'path,label\n"a'])
def test_invalid_manifest_is_rejected(tmp_path: Path, content: bytes):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(UsageError, match=r"labels\.csv"):
        LabelStore(tmp_path / "labels.csv")


def test_data_set_in_another_csv_dialect(tmp_path: Path):
    photo = _photo(tmp_path / "in", "a.png")
    _photo(tmp_path / "in", "b.png")
    text = "File Name;Class;Note\r\nin\\a.png;red;old\r\n in/b.png ; green;new\r\n"
    (tmp_path / "data.csv").write_text(text, encoding="utf-16")
    labels = LabelStore(tmp_path / "labels.csv", tmp_path / "data.csv")
    labels.set_label(photo, "blue")
    assert labels.merged_path is not None
    assert _rows(labels.merged_path) == [
        {"path": "in/a.png", "label": "blue", "Note": "old"},
        {"path": "in/b.png", "label": "green", "Note": "new"},
    ]


@pytest.mark.parametrize("name", ["none", "1.0", "TRUE", "nan"])
def test_unusual_class_names_survive_a_round_trip(tmp_path: Path, name: str):
    labels = LabelStore(tmp_path / "labels.csv")
    labels.set_label(_photo(tmp_path, "a.png"), name)
    assert LabelStore(tmp_path / "labels.csv").labels() == {tmp_path / "a.png": name}


def test_table_without_labels_is_rejected(tmp_path: Path):
    (tmp_path / "data.csv").write_text("path;label\na.png;\n", encoding="utf-8")
    with pytest.raises(UsageError, match="line 2: label is empty"):
        LabelStore(tmp_path / "labels.csv", tmp_path / "data.csv")
