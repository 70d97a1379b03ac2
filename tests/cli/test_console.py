"""Console output: any encoding, closed readers, names from outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from assay.cli import console
from assay.cli.main import main

_ASSAY = Path(sys.executable).with_name("assay")
_CODE = "from assay.cli import console; console.prepare_streams(); "
_PLAIN = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "LANG": "C"}


def run(code: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-c", _CODE + code],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
    )


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "93 × ± ─ █ … → é 電"),
        ("ascii", r"93 x +- - # ... -> \xe9 \u96fb"),
        ("ascii:strict", r"93 x +- - # ... -> \xe9 \u96fb"),
        ("latin-1", r"93 × ± - # ... -> é \u96fb"),
        ("cp1252", r"93 × ± - # … -> é \u96fb"),
        ("cp437", r"93 x ± ─ █ ... -> é \u96fb"),
        ("koi8-r", r"93 x +- ─ █ ... -> \xe9 \u96fb"),
    ],
)
def test_characters_that_a_console_cannot_encode_are_replaced(encoding: str, shown: str):
    code = f"[write({'93 × ± ─ █ … → é 電'!a}) for write in (console.echo, console.echo_text, console.print_result)]"
    ended = run(code, PYTHONIOENCODING=encoding)
    assert ended.stdout.decode(encoding.partition(":")[0]).splitlines() == [shown] * 3
    ended = run(f"console.print_error({'é ×'!a})", PYTHONIOENCODING=encoding)
    assert ended.stderr.startswith(b"assay: ")


def test_ascii_locale_works():
    assert run(f"console.echo({'é ×'!a})", PYTHONIOENCODING="", **_PLAIN).stdout == b"\\xe9 x\n"


@pytest.mark.slow
def test_locale_that_cannot_encode_file_names_is_reported(colour_bundle: Path, tmp_path: Path):
    folder = tmp_path / "photos" / "é"
    folder.mkdir(parents=True)
    Image.new("RGB", (32, 32), (250, 0, 0)).save(folder / "a.png")
    (tmp_path / "list.csv").write_text("path,label\nphotos/é/a.png,red\n", encoding="utf-8")
    for arguments in (["train", tmp_path / "photos"], ["evaluate", colour_bundle, tmp_path / "list.csv"]):
        command = [_ASSAY, *arguments]
        ended = subprocess.run(command, env={**os.environ, **_PLAIN}, capture_output=True, check=False)
        assert ended.returncode == 1
        assert b"PYTHONUTF8=1" in ended.stderr
        assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_json_values_survive_on_every_console(encoding: str):
    value = {"label": "é 電 \x9b \u202e 🦊", "n": 1}
    ended = run(f"console.print_json({value!a})", PYTHONIOENCODING=encoding)
    assert json.loads(ended.stdout.decode(encoding)) == value
    assert b"\xc2\x9b" not in ended.stdout


def test_names_cannot_forge_output_lines(capsys: pytest.CaptureFixture[str]):
    console.echo("photo\nassay: all is well", "\x1b[31m[red]", colour="red")
    console.echo_text("a\nb\rc\x1b[2J")
    assert capsys.readouterr().out == "photo\\nassay: all is well\n\\x1b[31m[red]\na\nb\\rc\\x1b[2J\n"


def test_progress_shows_markup_literally():
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    code = (
        "bars = console.progress_bars(); tell = bars.__enter__(); "
        "tell('[red]\\x1b]0;title\\x07', 1, 3); bars.__exit__(None, None, None)"
    )
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", _CODE + code], stderr=slave, check=True, env=variables)
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert "[red]\\x1b]0;title\\x07" in shown
    assert "\x07" not in shown


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-", "<&-", ">/dev/full"])
def test_work_continues_without_an_output(colour_bundle: Path, tmp_path: Path, closing: str):
    Image.new("RGB", (32, 32), (250, 0, 0)).save(tmp_path / "é.png")
    command = f"'{_ASSAY}' predict '{colour_bundle}' '{tmp_path}' --out '{tmp_path}/answers.csv' {closing}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, check=False, text=True)
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8").count("é.png") == 1
    assert "Traceback" not in ended.stderr
    if closing == ">/dev/full":
        assert ended.returncode == 1
        assert "cannot write to standard output: No space left on device" in ended.stderr
    else:
        assert ended.returncode == 0


def test_closed_reader_ends_results_but_not_work():
    code = "import os, sys; {write}; os.write(2, b'went on')"
    for write, after in (("console.echo('x')", b"went on"), ("console.print_result('x')", b"")):
        reading, writing = os.pipe()
        os.close(reading)
        script = _CODE + code.format(write=write)
        ended = subprocess.run([sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, check=False)
        os.close(writing)
        assert ended.stderr.endswith(after)
        assert (b"BrokenPipeError" in ended.stderr) == (not after)


@pytest.mark.parametrize(
    "arguments",
    [
        ["pre\x1b[31mdict"],
        ["train", "--no\x1b[31m"],
        ["train", "no\x1b[31m\u202efile"],
        ["predict", "no\x1b[31m.assay", "photo\nassay: done"],
        ["train", "x", "--epochs", "\x1b[2J"],
        ["train", "x", "-r", "\x1b[2J[red]\u202e"],
        ["train", "x", "--set", "\x1b[2J=1"],
        ["fetch", "\x1b[2J"],
        ["keys", "\x1b[2J"],
        ["evaluate", "\x1b[2J\u009b", "y"],
        ["info", "[bold]\x1b[2J\u2066"],
        ["serve", "\x1b[2J=\x1b[2J"],
        ["watch", "\x1b[2J", "\x1b[2J", "--smooth", "\x1b[2J"],
    ],
    ids=lambda words: words[0].strip("\x1b"),
)
def test_usage_errors_escape_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str]):
    with pytest.raises(SystemExit):
        main(arguments)
    printed = capsys.readouterr()
    for letter in "\x1b\x9b\u202e\u2066":
        assert letter not in printed.out + printed.err
    assert printed.err
