"""The queue of photos to label: uncertain predictions and suspected label errors."""

import json
from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.serving.web.label_candidates import suspect_candidates, uncertain_candidates

_HEAD = "path,label,confidence,request_id,timestamp,model,model_version\n"


def test_least_confident_photos_of_the_model_come_first(tmp_path: Path):
    rows = ["a.jpg,red,0.8,r,t,colours,1", "b.jpg,blue,0.4,r,t,colours,1", "c.jpg,cat,0.1,r,t,animals,1"]
    (tmp_path / "manifest.csv").write_text(_HEAD + "\n".join(rows), encoding="utf-8")
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(b"")
    found = uncertain_candidates(tmp_path, "colours")
    assert [(item.path.name, item.label, item.note) for item in found] == [
        ("b.jpg", "blue", "40 % confidence"),
        ("a.jpg", "red", "80 % confidence"),
    ]
    assert all(item.temporary for item in found)


def test_empty_queue(tmp_path: Path):
    assert uncertain_candidates(tmp_path / "none", "colours") == []


def test_unreadable_manifest(tmp_path: Path):
    (tmp_path / "manifest.csv").write_text("path,label\na.jpg,red\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no manifest of uncertain photos"):
        uncertain_candidates(tmp_path, "colours")


def test_label_issues_of_a_report(tmp_path: Path):
    table = tmp_path / "label_issues.csv"
    table.write_text("id,path,label,suggested\n1,in/a.png,red,blue\n2,/b.png,blue,red\n", encoding="utf-8")
    found = suspect_candidates(table, None)
    assert [(item.path, item.label, item.note) for item in found] == [
        (tmp_path / "in" / "a.png", "red", "blue?"),
        (Path("/b.png"), "blue", "red?"),
    ]
    assert len({item.id for item in found}) == 2
    assert not any(item.temporary for item in found)


def _check(path: Path) -> Path:
    photo = {"id": "red/a.png", "label": "red", "split": None, "note": "blue? (93 %)"}
    other = {"kind": "corrupt", "groups": [{"note": "", "photos": [{"id": "x", "label": "", "note": ""}]}]}
    finding = {"kind": "label_suspect", "groups": [{"note": "", "photos": [photo]}]}
    path.write_text(json.dumps({"version": 1, "findings": [other, finding]}), encoding="utf-8")
    return path


def test_label_suspects_of_a_check_are_resolved_through_the_manifest(tmp_path: Path):
    check, data = _check(tmp_path / "check.json"), tmp_path / "run" / "manifest.csv"
    data.parent.mkdir()
    data.write_text("id,path,label\nred/a.png,../photos/red/a.png,red\n", encoding="utf-8")
    (found,) = suspect_candidates(check, data)
    assert (found.path, found.note) == (tmp_path / "photos" / "red" / "a.png", "blue? (93 %)")
    with pytest.raises(UsageError, match="--data"):
        suspect_candidates(check, None)


@pytest.mark.parametrize("content", ["", "[]", '{"findings": [{"groups": []}]}'])
def test_invalid_check_file_is_rejected(tmp_path: Path, content: str):
    (tmp_path / "check.json").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"check\.json was not written by"):
        suspect_candidates(tmp_path / "check.json", None)


def test_missing_file_raises(tmp_path: Path):
    for name in ("none.csv", "none.json"):
        with pytest.raises(UsageError, match="cannot be read"):
            suspect_candidates(tmp_path / name, None)


@pytest.mark.parametrize("name", ["none", "1.0", "nan"])
def test_label_suspects_of_classes_with_unusual_names(tmp_path: Path, name: str):
    table = tmp_path / "label_issues.csv"
    table.write_text(f"id,path,label,suggested\n1, a.png,{name},blue\n", encoding="utf-8")
    (found,) = suspect_candidates(table, None)
    assert (found.path, found.label) == (tmp_path / " a.png", name)


def test_photos_of_a_check_are_resolved_through_another_csv_dialect(tmp_path: Path):
    data = tmp_path / "data.csv"
    data.write_text("File;Class\nred\\a.png;red\n", encoding="utf-8")
    (found,) = suspect_candidates(_check(tmp_path / "check.json"), data)
    assert found.path == tmp_path / "red" / "a.png"
