"""Help, version, recipes and errors of the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from assay import __version__
from assay.recipe import NETWORKS, recipe_names


def test_help_lists_every_command(assay):
    result = assay("--help")
    assert result.code == 0
    for name in ["demo", "train", "evaluate", "predict", "explain", "info", "recipes"]:
        assert f" {name} " in result.out


@pytest.mark.parametrize("command", ["demo", "train", "evaluate", "predict", "explain", "info"])
def test_every_command_has_an_example(assay, command: str):
    assert f"assay {command}" in assay(command, "--help").out


def test_version_is_printed(assay):
    assert assay("--version").out.strip() == f"assay {__version__}"


def test_recipes_are_listed_and_shown(assay):
    listed = assay("recipes", "list").out
    assert all(name in listed for name in recipe_names())
    shown = yaml.safe_load(assay("recipes", "show", "bottle", "--set", "train.epochs=3").out)
    assert shown["train"]["epochs"] == 3
    assert all(name in assay("recipes", "networks").out for name in NETWORKS)


def test_unknown_command_is_wrong_usage(assay):
    assert assay("trian").code == 2


@pytest.mark.parametrize("target", ["full", "folder"])
def test_unwritable_path_is_reported_in_one_sentence(assay, colours: Path, tmp_path: Path, target: str):
    (tmp_path / "folder").mkdir()
    out = Path("/dev/full/out") if target == "full" else tmp_path / "folder"
    result = assay("check", colours, "--write", out / "x" if target == "full" else out)
    assert result.code in {1, 2}
    assert result.err.startswith("assay: ")
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "m.assay", "--port", "80x"], "Invalid value for '--port': must be a whole number"),
        (["predict", "m.assay", "a.png", "--threads", "0"], "must be greater than or equal to 1"),
        (
            ["predict", "m.assay", "a.png", "--precision", "int4"],
            "Invalid value for '--precision': 'int4' is not one of",
        ),
        (["serve", "m.assay", "--keep-days", "x"], "Invalid value for '--keep-days': must be a number"),
    ],
)
def test_errors_of_options_are_in_plain_words(assay, arguments: list[str], message: str):
    result = assay(*arguments)
    assert result.code == 2
    assert message in " ".join(result.err.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [["check", ""], ["serve", "m.assay", "--host", ""], [""]])
def test_an_empty_argument_is_refused(assay, arguments: list[str]):
    result = assay(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("assay: an argument is empty")


def test_ctrl_c_is_reported():
    code = (
        "import os, signal, sys; from assay.cli.main import app, main\n"
        "@app.command()\n"
        "def wait() -> None:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "main(['wait'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "assay: interrupted\n")


def test_missing_extra_is_named(tmp_path: Path):
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch':\n"
        "            raise ModuleNotFoundError('No module named torch', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from assay.cli.main import main; main(['train', sys.argv[1]])"
    )
    ended = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert 'pip install "assay[train]"' in ended.stderr


@pytest.mark.parametrize("arguments", [["train"], ["check"], ["cache"]])
def test_cache_folder_that_is_a_file_is_reported(
    assay, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    result = assay(*arguments, *([] if arguments == ["cache"] else [colours]))
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "ASSAY_CACHE is not a folder" in result.err


def test_recipe_names_cannot_leave_the_runs_folder(assay, colours: Path):
    for name in ["../elsewhere", "/x", ".hidden", ""]:
        result = assay("train", colours, "--set", f"name='{name}'")
        assert (result.code, "name" in result.err) == (2, True)


def test_infinite_settings_are_rejected(assay, colours: Path):
    assert assay("train", colours, "--set", "train.lr=.inf").code == 2


def test_empty_recipe_is_reported(assay, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("", encoding="utf-8")
    assert "is empty" in assay("recipes", "show", tmp_path / "mine.yaml").err
