"""Every command in README and documentation exists with its options; quick ones are run."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.main import get_command

from assay.cli.main import app, main
from assay.core.cpu import bf16_instructions
from assay.recipe import load_recipe, recipe_names

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

ONLY_PARSED = {
    "bench": "a minute, and figures of a busy machine",
    "collect": "needs a camera",
    "crossval": "many trainings",
    "demo": "a minute of training on photos of an extra",
    "fetch": "needs a network",
    "request-log": "needs a server's request log; tests/cli/test_request_log.py runs it",
    "serve": "does not end; the notebook on serving runs it",
    "studio": "does not end; tests/system/test_studio_path.py runs it",
    "train": "minutes of training; the folder of these tests comes from one",
    "tune": "minutes of training",
    "variants": "many trainings; only --show is run",
    "watch": "needs a camera; tests/cli/test_watch.py runs it",
}
"""Commands that are not run here, and why."""
QUICK = {"augment", "cache", "check", "compare", "evaluate", "explain", "export", "info", "keys", "predict", "recipes"}
"""Commands that end by themselves within seconds."""


class ShownCommand(NamedTuple):
    """A command that a page shows."""

    page: str
    words: tuple[str, ...]


def _blocks(text: str) -> list[str]:
    """Return the lines of all blocks of code, indented or fenced."""
    lines, fenced = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip())
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def _lines() -> list[ShownCommand]:
    found: dict[ShownCommand, None] = {}
    for page in PAGES:
        for block in _blocks(page.read_text(encoding="utf-8")):
            for part in re.split(r"&&|(?<!\S)\|(?!\S)", block):
                if part.strip().startswith("assay "):
                    words = shlex.split(part, comments=True)
                    cut = words.index(">") if ">" in words else len(words)
                    found[ShownCommand(page.name, tuple(words[1:cut]))] = None
    return list(found)


LINES = _lines()


def _run(words: tuple[str, ...]) -> bool:
    # A learning curve takes half a minute, and Ray as long; tests/cli/test_check.py and tests/scale run them.
    slow = {"--learning-curve", "--cluster"} & set(words)
    return (words[0] in QUICK or "--show" in words) and not slow


def _parse(words: tuple[str, ...]) -> None:
    """Let the command line read the words as it would, without doing anything."""
    command, rest, name = get_command(app), list(words), "assay"
    context = None
    while (children := getattr(command, "commands", None)) is not None and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in children, f"there is no command {name}"
        command = children[name]
    context = command.make_context(name, rest, parent=context)
    settings = context.params.get("set_") or ()
    recipe = context.params.get("recipe")
    if recipe in recipe_names() and name in {"train", "crossval", "augment"}:
        load_recipe(recipe, settings)


def test_pages_contain_commands():
    assert len(LINES) > 80
    assert {line.words[0] for line in LINES} >= set(ONLY_PARSED) | {"check", "predict", "compare"}


def test_every_command_is_run_or_has_a_reason_not_to_be():
    assert {name.split()[0] for name in _every_command()} == QUICK | set(ONLY_PARSED)
    assert not QUICK & set(ONLY_PARSED)


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.page}: {' '.join(line.words)}")
def test_commands_are_valid(line: ShownCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["assay"])
    if line.words[0].startswith("--"):
        assert line.words[0] in {"--help", "--version", "--install-completion", "--show-completion"}
        return
    _parse(line.words)


def test_invalid_option_is_detected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match="No such option") as caught:
        _parse(("train", "photos", "--epoch", "3"))
    assert type(caught.value).__module__.startswith((typer.__name__, "click"))


def _every_command() -> list[str]:
    waiting, found = [("", get_command(app))], []
    while waiting:
        name, command = waiting.pop()
        children = getattr(command, "commands", None)
        if children is None:
            found.append(name.strip())
        else:
            waiting += [(f"{name} {child}", item) for child, item in children.items()]
    return sorted(found)


@pytest.mark.parametrize("name", _every_command())
def test_examples_of_all_commands_are_valid(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    command = get_command(app)
    for word in name.split():
        command = command.commands[word]
    (example,) = re.findall(r"^Example: assay (.+)$", command.help, re.MULTILINE)
    assert example.startswith(name)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(example, comments=True)
    _parse(tuple(words[: words.index(">")] if ">" in words else words))


@pytest.fixture
def run_documented(docs_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Run a command among the photos and runs of the documentation; what it writes goes elsewhere."""
    for entry in docs_folder.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_KEYS", str(tmp_path / "keys"))

    def run(words: tuple[str, ...]) -> object:
        try:
            main(list(words))
        except SystemExit as stop:
            return stop.code or 0
        return 0

    return run


RUN = sorted({line.words for line in LINES if _run(line.words) and not line.words[0].startswith("-")})


@pytest.mark.parametrize("words", RUN, ids=" ".join)
def test_quick_commands_run(
    words: tuple[str, ...], run_documented: Callable[..., object], capsys: pytest.CaptureFixture[str]
):
    code = run_documented(words)
    result = capsys.readouterr()
    if "bf16" in words and not bf16_instructions():
        assert (code, "no bfloat16 instructions" in result.err) == (1, True), result.err
        return
    assert "Traceback" not in result.err
    assert code in {0, 1} if words[0] == "check" else code == 0, result.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_works(shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("_ASSAY_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "assay pre")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "assay pre")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setattr(sys, "argv", ["assay"])
    with pytest.raises(SystemExit):
        main([])
    assert "predict" in capsys.readouterr().out
