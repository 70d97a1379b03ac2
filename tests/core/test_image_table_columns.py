"""Paths and labels in tables of images, as written on other systems."""

import unicodedata
from pathlib import Path

import pytest

from assay.core.errors import AssayError
from assay.core.image_table_columns import resolve_table_path


def _make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    "text",
    [
        "img/cat/1.jpg",
        " img/cat/1.jpg ",
        "./img/cat/1.jpg",
        "img\\cat\\1.jpg",
        ".\\img\\cat/1.jpg\t",
        "img//dog/../cat/1.jpg",
    ],
)
def test_paths_of_other_systems_are_resolved(tmp_path: Path, text: str) -> None:
    _make(tmp_path, "img/cat/1.jpg")
    assert resolve_table_path(tmp_path, text, "line 2") == tmp_path / "img/cat/1.jpg"


def test_absolute_paths_are_kept(tmp_path: Path) -> None:
    assert resolve_table_path(tmp_path, "/far/1.jpg", "line 2") == Path("/far/1.jpg")


@pytest.mark.parametrize("name", [" 1.jpg", "1.jpg ", "a\\1.jpg", "C:\\1.jpg", "data:x/y", "cam1:0001.jpg"])
def test_exact_file_name_takes_precedence(tmp_path: Path, name: str) -> None:
    _make(tmp_path, name, "1.jpg", "a/1.jpg")
    assert resolve_table_path(tmp_path, name, "line 2") == tmp_path / name


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_composed_and_decomposed_accents(tmp_path: Path, on_disk: str, in_table: str) -> None:
    name = unicodedata.normalize(on_disk, "\u00fcber/caf\u00e9 1.jpg")  # type: ignore[arg-type]
    _make(tmp_path, name)
    text = unicodedata.normalize(in_table, name)  # type: ignore[arg-type]
    assert resolve_table_path(tmp_path, text, "line 2") == tmp_path / name
    assert resolve_table_path(tmp_path, text.replace("/", "\\"), "line 2") == tmp_path / name


def test_mixed_accents_within_one_path(tmp_path: Path) -> None:
    folder, name = unicodedata.normalize("NFD", "\u00fcber"), "caf\u00e9.jpg"
    _make(tmp_path, f"{folder}/{name}")
    text = f"\u00fcber/{unicodedata.normalize('NFD', name)}"
    assert resolve_table_path(tmp_path, text, "line 2") == tmp_path / folder / name


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("https://example.org/1.jpg", "'https://example.org/1.jpg' is an address"),
        ("s3://bucket/1.jpg", "is an address"),
        ("gs://bucket/1.jpg", "is an address"),
        ("file:///photos/1.jpg", "is an address"),
        ("data:image/png;base64,AAAA", "is an address"),
        ("C:\\photos\\1.jpg", "is a place on a Windows computer"),
        ("d:/photos/1.jpg", "is a place on a Windows computer"),
        ("\\\\server\\share\\1.jpg", "is a place on a Windows computer"),
        ("a\0.jpg", "zero byte"),
    ],
)
def test_unsupported_paths_raise(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(AssayError, match=f"table, line 7.*{sentence}"):
        resolve_table_path(tmp_path, text, "table, line 7")


@pytest.mark.parametrize(
    ("text", "place"), [("a\\b.jpg", "a/b.jpg"), (" a.jpg", "a.jpg"), ("\u00e9.jpg", "\u00e9.jpg")]
)
def test_missing_paths_are_named_as_resolved(tmp_path: Path, text: str, place: str) -> None:
    assert resolve_table_path(tmp_path, text, "line 2") == tmp_path / place
