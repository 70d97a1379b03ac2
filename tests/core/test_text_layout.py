"""Numbers, percentages, columns and shortened text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.printable_text import printable
from assay.core.text_layout import (
    align_columns,
    counted,
    display_width,
    format_number,
    format_percent,
    shorten,
    shorten_names,
    wrap,
)


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (0, "0.0 %"), (1, "100.0 %"), (0.99999, "99.9 %"), (0.00001, "0.1 %"), (0.625, "62.5 %")],
)
def test_percent_does_not_round_to_0_or_100(share: float | None, text: str):
    assert format_percent(share) == text


def test_percent_and_number_with_digits():
    assert format_percent(0.999, 0) == "99 %"
    assert format_percent(0.95, 0) == "95 %"
    assert format_number(0.12345) == "0.123"
    assert format_number(None) == "–"


@pytest.mark.parametrize(
    ("count", "nouns", "text"),
    [
        (30, ("epoch",), "30 epochs"),
        (0, ("photo",), "0 photos"),
        (1, ("new photo",), "1 new photo"),
        (1200, ("new photo",), "1,200 new photos"),
        (1, ("class",), "1 class"),
        (2, ("class",), "2 classes"),
        (2, ("entry", "entries"), "2 entries"),
    ],
)
def test_counted_nouns(count: int, nouns: tuple[str, ...], text: str):
    assert counted(count, *nouns) == text


@given(st.text(), st.integers(4, 40))
def test_shortened_text_fits_and_prints(text: str, width: int):
    short = shorten(text, width)
    assert display_width(short) <= width
    assert printable(short) == short
    if display_width(printable(text)) <= width:
        assert short == printable(text)


def test_aligned_columns():
    assert [display_width(text) for text in ("", "ab", "電池", "e\N{COMBINING ACUTE ACCENT}", "é")] == [
        0,
        2,
        4,
        1,
        1,
    ]


def test_shortened_text_keeps_both_ends():
    assert shorten("photographs of the first series", 13) == "photog…series"


def test_names_that_become_equal_are_numbered():
    names = [f"a long name with a number {k} inside it" for k in range(11)]
    assert len(set(shorten_names(names, 12))) == 11
    assert shorten_names(["ab", "cd"], 12) == ["ab", "cd"]


def test_columns_align_with_wide_characters():
    lines = align_columns([["", "x"], ["電池", "10"], ["ab", "3"]]).splitlines()
    assert [display_width(line) for line in lines] == [8, 8, 8]
    assert align_columns([["a", "b"], ["ccc", "d"]], right=False) == "a    b\nccc  d"


@given(st.lists(st.sampled_from(["26 of 30 photos", "(86.7 %)", "are", "100.0 %", "correct."]), min_size=1))
def test_a_number_and_its_percent_sign_stay_on_one_line(words: list[str]):
    text = " ".join(words)
    lines = wrap(text, 24).splitlines()
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= 24
    assert not [line for line in lines if line.startswith("%")]
