"""Malicious class and file names, from training to the report."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.cli.main import main
from assay.core.label_tables import read_label_table, write_label_table
from assay.data import load_dataset, read_manifest
from assay.recipe import Recipe, dump_recipe

CLASSES = ("=HYPERLINK('x')", "[red]\x1b[31m[link=x]", "a\u202eb\nforged|<b>$\\frac{\x9b", "'=1")
FILES = (
    "=%02d.png",
    "-%02d\x1b]0;x\x07.png",
    "é\u200b%02d.png",
    "'=%02d.png",
    "\n%02d.png",
    " +%02d.png",
    "%02d.png",
)
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
EXACT = {"manifest.csv", "label_issues.csv"}
"""Tables that are read back hold names as they are."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("hostile"), np.random.default_rng(5)
    for place, name in enumerate(CLASSES):
        (folder / name).mkdir()
        for number in range(14):
            pixels = rng.normal(60 + 40 * place, 30, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / (FILES[number % len(FILES)] % number))
    (folder / CLASSES[0] / "broken\x1b[2J.png").write_bytes(b"\x89PNG\r\n\x1a\n12345")
    return folder


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert ended.value.code in {0, 1}, text
    assert not RAW.search(text), ascii(text)
    return text


def raw_files(folder: Path) -> list[str]:
    kinds = {".txt", ".csv", ".html", ".json", ".md", ".log", ".svg"}
    files = [path for path in folder.rglob("*") if path.suffix in kinds and path.name not in EXACT]
    assert files
    unsafe = re.compile(RAW.pattern.replace("\x00-\x09", "\x00-\x08")) if folder.is_dir() else RAW
    return [str(path) for path in files if path.suffix != ".json" and unsafe.search(path.read_text("utf-8"))]


def test_malicious_names_are_escaped_in_every_output(
    hostile: Path, tiny: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe, run = tmp_path / "tiny.yaml", tmp_path / "run"
    recipe.write_text(dump_recipe(tiny), encoding="utf-8")
    trained = command(capsys, "train", hostile, "-r", recipe, "--run", run, "--set", "train.epochs=1")
    assert r"a\u202eb\nforged|<b>$\frac{\u009b" in trained
    assert "[red]\\x1b[31m[link=x]" in trained
    command(capsys, "check", hostile, "--html", tmp_path / "check" / "page.html")
    command(capsys, "info", run / "model.assay")
    command(capsys, "evaluate", run / "model.assay", run / "manifest.csv", "--out", tmp_path / "evaluated")
    command(capsys, "predict", run / "model.assay", hostile, "--out", tmp_path / "evaluated" / "answers.csv")
    command(capsys, "predict", run / "model.assay", hostile / CLASSES[2])
    for folder in (run, tmp_path / "check", tmp_path / "evaluated"):
        assert raw_files(folder) == []
    with (tmp_path / "evaluated" / "answers.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["label"] for row in rows} <= {"'=HYPERLINK('x')", r"[red]\x1b[31m[link=x]", "", "''=1"} | {
        r"a\u202eb\nforged|<b>$\frac{\u009b"
    }
    back, found = read_manifest(run / "manifest.csv"), load_dataset(hostile)
    assert {(item.path, item.label) for item in back.samples} == {(item.path, item.label) for item in found.samples}
    assert all(item.path.is_file() for item in back.samples)


def test_tables_of_labels_survive_a_round_trip(tmp_path: Path):
    rows = [{"path": f"{name}/{file}", "label": name} for name in CLASSES for file in FILES]
    write_label_table(tmp_path / "labels.csv", ("path", "label"), rows)
    absolute = [{**row, "path": str(tmp_path / row["path"])} for row in rows]
    assert read_label_table(tmp_path / "labels.csv", ("path", "label"), literal=True) == absolute
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
