"""CSV and JSON files."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.tables import (
    SafeCsvWriter,
    escape_formula,
    read_csv_dicts,
    read_csv_rows,
    unescape_formula,
    write_csv,
    write_json,
)


def test_csv_quoting(tmp_path: Path):
    path = tmp_path / "new" / "t.csv"
    rows = [['a "b", c', "line\nbreak", "鳥"], ["caf\udce9", "", "x"]]
    write_csv(path, ["id", "p,q", "r"], rows)
    with path.open(encoding="utf-8", newline="") as stream:
        back = list(csv.reader(stream))
    assert back == [["id", "p,q", "r"], ['a "b", c', "line\\nbreak", "鳥"], ["caf\\xe9", "", "x"]]
    write_csv(path, ["a", "b"], [[None, 0.5]])
    assert path.read_text() == "a,b\n,0.5\n"


def test_json_is_strict_and_accepts_any_name(tmp_path: Path):
    path = tmp_path / "t.json"
    write_json(path, {"鳥": [1, None, 0.5]})
    assert "鳥" in path.read_text("utf-8")
    write_json(path, {"name": "caf\udce9"})
    assert json.loads(path.read_text("utf-8")) == {"name": "caf\udce9"}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text("utf-8")) == {"name": "caf\udce9"}  # the old file is whole


_SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20'\t\r\n \u00a0\u200b\ufeff0123.e\"|;,A"

TEXT = st.one_of(st.text(_SIGNS), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://example.org";"photo")',
        "=1+1.jpg",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "   =1",
        "\u00a0=1",
        "\u200b=1",
        "\ufeff=1",
        "\uff1d1+1",
        "\uff0b1",
        "\uff20A1",
        "-",
        "+49 30 1234",
        "\x1b=1",
    ],
)
@pytest.mark.parametrize("exact", [True, False])
def test_formulas_are_prefixed_with_an_apostrophe(text: str, exact: bool):
    stream = io.StringIO()
    SafeCsvWriter(stream, exact=exact).writerow(["a", text, f"'{text}"])
    (row,) = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    assert row[1].startswith(("'", "\\"))
    assert row[2].startswith(("''", "'\\"))
    (back,) = read_csv_rows(io.StringIO(stream.getvalue(), newline=""))
    assert back[1:] == [text, f"'{text}"] or not exact


@pytest.mark.parametrize(
    "cell",
    [-1, -0.25, -1e-05, "-1", "+0.5", "-1e-05", "-.5", "a=b", "a-b", "'quoted'", "", "O'Neil", "x@y.z"],
)
def test_numbers_and_other_texts_are_unchanged(cell: str | float):
    stream = io.StringIO()
    SafeCsvWriter(stream).writerow([cell, "end"])
    assert stream.getvalue() == f"{cell},end\n"


@given(TEXT)
def test_text_survives_a_round_trip(text: str):
    assert unescape_formula(escape_formula(text)) == text
    stream = io.StringIO()
    SafeCsvWriter(stream, exact=True).writerows([["a", "b"], [text, "x"]])
    columns, rows = read_csv_dicts(io.StringIO(stream.getvalue(), newline=""))
    assert (list(columns), list(rows)) == (["a", "b"], [{"a": text, "b": "x"}])


def test_tables_of_other_tools_are_read_literally():
    lines = ["path,label\n", "=a.jpg,-1\n", "\n", "short\n", "'b.jpg,'quoted',more\n"]
    columns, rows = read_csv_dicts(lines)
    assert columns == ["path", "label"]
    assert list(rows) == [
        {"path": "=a.jpg", "label": "-1"},
        {"path": "short", "label": ""},
        {"path": "'b.jpg", "label": "'quoted'"},
    ]


def test_printed_tables_escape_control_characters():
    stream = io.StringIO()
    SafeCsvWriter(stream).writerow(["\x1b[31m", "a\nb", "\u202ex", "caf\udce9"])
    assert stream.getvalue() == "\\x1b[31m,a\\nb,\\u202ex,caf\\xe9\n"
