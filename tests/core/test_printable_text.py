"""Text made safe for terminals."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.printable_text import printable, printable_json, printable_lines

HOSTILE = st.text(st.one_of(st.characters(), st.sampled_from("\x1b\x07\x9b\u202e\u2066\u200b\u2028\n\r\t\ufeff")))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b2J", r"\u009b2J"),
        ("caf\udce9.png", r"caf\xe9.png"),
        ("\ud800", r"\ud800"),
        ("photo\u202egnp.exe", r"photo\u202egnp.exe"),
        ("\u2066a\u2069", r"\u2066a\u2069"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\u0085d"),
        ("zero\u200bwidth\u2060\ufeff\u00ad", r"zero\u200bwidth\u2060\ufeff\u00ad"),
        ("fill\u3164\uffa0\u115f", r"fill\u3164\uffa0\u115f"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("\x7f\x00", r"\x7f\x00"),
        ("Fenster geöffnet", "Fenster geöffnet"),
        ("電池　١٢ ñandú 🦊 e\u0301", "電池　١٢ ñandú 🦊 e\u0301"),
        (r"C:\photos\x1b", r"C:\photos\x1b"),
    ],
)
def test_unsafe_characters_are_shown_as_escapes(text: str, shown: str):
    assert printable(text) == shown


@given(HOSTILE)
def test_control_and_invisible_characters_are_escaped(text: str):
    shown = printable(text)
    assert not {unicodedata.category(letter) for letter in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(letter) for letter in shown} & {
        *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    }
    assert printable(shown) == shown
    assert printable_lines(text).split("\n") == [printable(line) for line in text.split("\n")]


@given(HOSTILE, st.booleans())
def test_escaped_json_keeps_its_value(text: str, ascii_only: bool):
    value = {"label": text, text: [1, None]}
    shown = printable_json(json.dumps(value, ensure_ascii=False, indent=1), ascii_only=ascii_only)
    assert json.loads(shown) == value
    assert printable_lines(shown) == shown
    assert shown.isascii() or not ascii_only
