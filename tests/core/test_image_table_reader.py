"""Tables of images as other tools write them."""

import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from assay.core.errors import AssayError
from assay.core.image_table_reader import ImageTable, read_table

ROWS = [("a/1.jpg", "caf\u00e9"), ("b, c/2.jpg", "dog")]


def _read(folder: Path, content: str | bytes, name: str = "table.csv") -> ImageTable:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


def _labels(table: ImageTable) -> list[str]:
    return [row.cells["label"] for row in table.rows]


def _pairs(table: ImageTable) -> list[tuple[str, str]]:
    return [(row.cells["path"].strip(), row.cells["label"]) for row in table.rows]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_endings(tmp_path: Path, separator: str, end: str) -> None:
    lines = ["path{}label", '"a/1.jpg"{} caf\u00e9 ', '"b, c/2.jpg"{} "dog"', ""]
    text = end.join(line.replace("{}", separator) for line in lines)
    assert _pairs(_read(tmp_path, text)) == ROWS


def test_tab_separator_can_be_declared(tmp_path: Path) -> None:
    assert _pairs(_read(tmp_path, "sep=\t\r\nfile\tclass\r\n1,5.jpg\ta\r\n")) == [("1,5.jpg", "a")]


def test_separator_declared_by_excel(tmp_path: Path) -> None:
    table = _read(tmp_path, "sep=;\r\nfile;class\r\n1,5.jpg;a\r\n2,5.jpg;\r\n".replace("2,5.jpg;", "2,5.jpg;b"))
    assert _pairs(table) == [("1,5.jpg", "a"), ("2,5.jpg", "b")]
    assert [row.line for row in table.rows] == [3, 4]


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (b"", "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (b"", "cp1252"),
    ],
)
def test_encodings(tmp_path: Path, mark: bytes, encoding: str) -> None:
    text = 'path,label\r\na/1.jpg,caf\u00e9\r\n"b, c/2.jpg",dog\r\n'
    table = _read(tmp_path, mark + text.encode(encoding))
    assert _pairs(table) == ROWS
    assert bool(table.warnings) == (encoding == "cp1252"), "only a guess is said"


@pytest.mark.parametrize(
    "header",
    [
        *(
            "PATH,LABEL",
            " Path , Label ",
            '"path","label"',
            "file_name,label",
            "Filename,Class",
            "File Name,class",
        ),
        *("image,target", "Image_Path,Category", "img-path,class_name", "file,labels", "path,label,class"),
        *("path,label,filename", "file_name,label,image,target"),
    ],
)
def test_column_names(tmp_path: Path, header: str) -> None:
    more = ",x" * (header.count(",") - 1)
    assert _pairs(_read(tmp_path, f"{header}\n1.jpg,a{more}\n")) == [("1.jpg", "a")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,photo,label\n1,2,a\n", "'image' and 'photo' may both be the path; call one 'path'"),
        ("path,class,target\n1,a,b\n", "'class' and 'target' may both be the label"),
        ("path,Path,label\n1,2,a\n", "two columns called 'path'"),
        ("label,Label,path\na,b,1\n", "two columns called 'label'"),
        (
            "path;label\n1;a\n2;b;c\n",
            "line 3: 3 values for 2 columns; put quotes around values with semicolons",
        ),
        ("path,label\n1,a\n2\n", "line 3: 1 value for 2 columns"),
        ('path,label\n"1.jpg,a\n', "line 2: a quote is opened and never closed"),
        ('path,label\n1.jpg,a\n2.jpg,"a\n3.jpg,b\n4.jpg,b\n', "line 3: a quote is opened and never closed"),
        ('sep=;\npath;label\n1.jpg;a\n2.jpg;"a\n3.jpg;b\n', "line 4: a quote is opened and never closed"),
    ],
)
def test_ambiguous_tables_are_rejected(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(AssayError, match=sentence):
        _read(tmp_path, text)


MISSING = ["", " ", "nan", "NaN", "None", "null", "NULL", "NA", "N/A", "n/a", "<NA>", "#N/A", "nil"]


@pytest.mark.parametrize("value", MISSING)
def test_missing_labels_are_not_a_class(tmp_path: Path, value: str) -> None:
    with pytest.raises(AssayError, match=r"table\.csv, lines 2, 4: label is (empty|missing)"):
        _read(tmp_path, f"path,label\n1.jpg,{value}\n2.jpg,a\n3.jpg,{value}\n")
    with pytest.raises(AssayError, match=r"line 3: path is (empty|missing)"):
        _read(tmp_path, f"path,label\n2.jpg,a\n{value},a\n")


def test_many_missing_labels_are_counted(tmp_path: Path) -> None:
    lines = "".join(f"{number}.jpg,nan\n" for number in range(20))
    with pytest.raises(AssayError, match="lines 2, 3, 4, 5, 6 and 15 more: label is missing"):
        _read(tmp_path, "path,label\n" + lines)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["0.0", "1.0", "2.0"], ["0", "1", "2"]),
        (["0", "1.0", "10."], ["0", "1", "10"]),
        (["-1.0", "1.0"], ["-1", "1"]),
        (["1.0", "1.1", "2.0"], ["1.0", "1.1", "2.0"]),
        (["1.0", "cat"], ["1.0", "cat"]),
        (["007", "7"], ["007", "7"]),
        (["TRUE", "False"], ["true", "false"]),
        (["True", "maybe"], ["True", "maybe"]),
        (["cafe\u0301", " caf\u00e9 "], ["caf\u00e9", "caf\u00e9"]),
    ],
)
def test_label_spellings_are_normalized(tmp_path: Path, given: list[str], expected: list[str]) -> None:
    lines = "".join(f"{number}.jpg,{label}\n" for number, label in enumerate(given))
    assert _labels(_read(tmp_path, "path,label\n" + lines)) == expected


def test_row_numbers_and_empty_columns_are_ignored(tmp_path: Path) -> None:
    assert _pairs(_read(tmp_path, ",path,label\n0,1.jpg,a\n1,2.jpg,b\n")) == [("1.jpg", "a"), ("2.jpg", "b")]
    assert _pairs(_read(tmp_path, "\n\npath,label,,\n1.jpg,a,,\n,,,\n2.jpg,b,,\n")) == [
        ("1.jpg", "a"),
        ("2.jpg", "b"),
    ]


def test_missing_groups_and_splits_are_none(tmp_path: Path) -> None:
    table = _read(tmp_path, "path,label,group,split\n1,a,nan,NaN\n2,b,NA,none\n3,b,g,train\n")
    assert [(row.cells.get("group"), row.cells.get("split")) for row in table.rows] == [
        (None, None),
        (None, None),
        ("g", "train"),
    ]


@pytest.mark.parametrize("name", ["table.jsonl", "table.NDJSON"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    values: list[dict[str, Any]] = [
        {"file_name": "1.jpg", "label": 1.0, "objects": {"bbox": [1, 2]}},
        {"label": 2, "file_name": "2.jpg", "extra": None},
    ]
    text = "\n\n".join(json.dumps(item) for item in values) + "\n"
    assert _pairs(_read(tmp_path, text, name)) == [("1.jpg", "1"), ("2.jpg", "2")]
    flags = '{"image": "1.jpg", "class": true}\r\n{"image": "2.jpg", "class": false}'
    assert _labels(_read(tmp_path, flags, name)) == ["true", "false"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"file_name": "1.jpg", "label": null}', "line 2: label is empty"),
        ('{"file_name": "1.jpg", "label": NaN}', "line 2: label is empty"),
        ('{"file_name": "1.jpg"}', "line 2: label is empty"),
        ('{"file_name": "1.jpg", "label": "None"}', "line 2: label is missing"),
        ('{"file_name": "1.jpg", "label": ["a", "b"]}', "line 2: label is a list"),
        ('{"file_name": "1.jpg", "label": {"id": 1}}', "line 2: label is an object"),
        ('{"file_name": "1.jpg", "label": "a", "label": "b"}', "line 2: it is no JSON .*twice"),
        ('["1.jpg", "a"]', "line 2: it must be a JSON object"),
        ("1.jpg,a", "line 2: it is no JSON"),
        ("[" * 100_000, "line 2: it is no JSON"),
        ('{"file_name": "1.jpg", "label": ' + "1" * 5000 + "}", "line 2: it is no JSON"),
    ],
)
def test_invalid_json_lines_raise(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(AssayError, match=sentence):
        _read(tmp_path, '{"file_name": "0.jpg", "label": "a"}\n' + line, "table.jsonl")


@pytest.mark.parametrize(
    "value", ["#REF!", "#WERT!", "#DIV/0!", "#NAME?", "#NV", "#N/D", "#N/D!", "#VALEUR!", r"\N", "1.#QNAN"]
)
def test_spreadsheet_errors_are_not_a_class(tmp_path: Path, value: str) -> None:
    with pytest.raises(AssayError, match="line 2: label is missing"):
        _read(tmp_path, f"path,label\n1.jpg,{value}\n2.jpg,a\n")


def test_class_names_with_a_hash(tmp_path: Path) -> None:
    labels = ["#1", "#wow!", "C#", "#A"]
    text = "".join(f"{place}.jpg,{label}\n" for place, label in enumerate(labels))
    assert _labels(_read(tmp_path, f"path,label\n{text}")) == labels


@pytest.mark.parametrize(
    ("labels", "encoding"),
    [
        ("\u72ac \u732b", "cp932"),
        ("\u30cd\u30b3 \u30a4\u30cc", "cp932"),
        ("\u72d7 \u732b", "gbk"),
        ("\u043a\u043e\u0442 \u043f\u0451\u0441", "cp1251"),
        ("\u03b3\u03ac\u03c4\u03b1 x", "cp1253"),
    ],
)
def test_other_encodings_are_rejected(tmp_path: Path, labels: str, encoding: str) -> None:
    item, other = labels.split()
    with pytest.raises(AssayError, match="save it as UTF-8"):
        _read(tmp_path, f"path,label\r\n1.jpg,{item}\r\n2.jpg,{other}\r\n".encode(encoding))


@pytest.mark.parametrize(
    "label",
    [
        *("\xe9t\xe9", "Gr\xf6\xdfe", "\xd6l", "\xc4", "cr\xe8me br\xfbl\xe9e", "\xc9T\xc9", "\u0153uvre"),
        *(
            "\xab\xe9t\xe9\xbb",
            "l\u2019\xe9t\xe9",
            "5 \xb0C",
            "\xbfqu\xe9?",
            "10 \u20ac",
            "\xe0",
            "\xf6\xf6",
            "\xa1\xc9l!",
            "\u201cx\u201d",
        ),
    ],
)
def test_windows_1252_tables_are_read(tmp_path: Path, label: str) -> None:
    table = _read(tmp_path, f"path;label\r\n1.jpg;{label}\r\n".encode("cp1252"))
    assert _labels(table) == [label]
    assert "Windows-1252" in table.warnings[0]


def test_lines_above_the_header_are_reported(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=r"first line \(My photos\); .*remove what stands above"):
        _read(tmp_path, "My photos;\r\n\r\npath;label\r\n1.jpg;a\r\n")


@pytest.mark.parametrize(
    ("given", "expected"),
    [(["1", "1.0", "0.5"], ["1", "1", "0.5"]), (["1.0", "1.5", "2.0"], ["1.0", "1.5", "2.0"])],
)
def test_equal_numbers_are_one_class(tmp_path: Path, given: list[str], expected: list[str]) -> None:
    text = "".join(f"{place}.jpg,{label}\n" for place, label in enumerate(given))
    assert _labels(_read(tmp_path, f"path,label\n{text}")) == expected


@pytest.mark.parametrize("column", ["file_name", "label", "group"])
def test_lone_surrogates_in_json_are_rejected(tmp_path: Path, column: str) -> None:
    line = json.dumps({"file_name": "1.jpg", "label": "a", column: "x\ud800"})
    with pytest.raises(AssayError, match=r"line 1: .* is no Unicode text"):
        _read(tmp_path, line, "metadata.jsonl")
    whole = json.dumps({"file_name": "1.jpg", "label": "\U0001f600"})
    assert _labels(_read(tmp_path, whole, "metadata.jsonl")) == ["\U0001f600"]
