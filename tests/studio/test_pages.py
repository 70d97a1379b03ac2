"""Texts of the pages: placeholders, and the singular of counted nouns; what only one script does."""

import re

import pytest

from assay.studio.pages import assets, text, texts

_NO_COUNTS = "name|points|value|own_value|metric|split"
"""Placeholders that are no numbers of things."""


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("shown", {"count": 0}, "0 photos"),
        ("shown", {"count": 1}, "1 photo"),
        ("shown", {"count": 1234}, "1,234 photos"),
        ("more_folders", {"count": 1}, "1 more folder is not shown: type the path below."),
        ("check_result", {"photos": 1, "classes": 1}, "1 labelled photo of 1 class was checked."),
        ("check_result", {"photos": 2, "classes": 3}, "2 labelled photos of 3 classes were checked."),
        ("agreement_text", {"photos": 8, "differ": 1}, "8 photos, 1 label differs"),
        ("done_label", {"count": 1, "name": "{count|a|b}"}, "1 photo labelled {count|a|b}"),
    ],
)
def test_counted_nouns_have_a_singular(key: str, values: dict[str, object], expected: str):
    assert text(key, **values) == expected


def test_a_missing_value_is_an_error():
    with pytest.raises(KeyError):
        text("shown")


def test_no_text_has_a_plural_after_a_number_only():
    plural = re.compile(rf"\{{(?!(?:{_NO_COUNTS})\}})\w+\}}(?: [a-z-]+)* (?:[a-z]+s|are|were|have)\b")
    assert [item for item in texts().values() if plural.search(item)] == []


def test_one_script_undoes_for_all_pages():
    assert [name for name, (body, _) in assets()[1].items() if b"/api/undo" in body] == ["undo.js"]
