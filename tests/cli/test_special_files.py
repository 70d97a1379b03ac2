"""Pipes, sockets and devices are rejected wherever a file can be given, and never opened."""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assay.cli.main import main

Make = Callable[[Path], None]


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as item:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket is short
        try:
            item.bind(path.name)
        finally:
            os.chdir(here)


def link_to(target: str) -> Make:
    return lambda path: path.symlink_to(target)


KINDS = {
    "pipe": fifo,
    "socket": unix_socket,
    "zero": link_to("/dev/zero"),
    "tty": link_to("/dev/tty"),
    "kmsg": link_to("/proc/kmsg"),
}
COMMANDS = [
    ("x.assay", ["predict", "FILE", "PHOTO"]),
    ("x.assay", ["info", "FILE"]),
    ("x.assay", ["evaluate", "FILE", "PHOTOS", "--out", "OUT"]),
    ("x.assay", ["explain", "FILE", "PHOTO", "--out", "OUT"]),
    ("x.assay", ["export", "FILE", "--to", "OUT", "--no-check"]),
    ("x.assay", ["bench", "FILE"]),
    ("x.assay", ["watch", "FILE", "PHOTOS/red", "--no-window"]),
    ("x.assay", ["serve", "FILE", "--port", "0"]),
    ("x.yaml", ["train", "PHOTOS", "-r", "FILE", "--run", "OUT"]),
    ("x.yaml", ["variants", "PHOTOS", "FILE", "--run", "OUT"]),
    ("x.yaml", ["tune", "PHOTOS", "-r", "FILE", "--set", "train.lr=1,2"]),
    ("x.csv", ["train", "FILE", "--run", "OUT"]),
    ("x.csv", ["check", "FILE"]),
    ("x.parquet", ["check", "FILE"]),
    ("x.npz", ["check", "FILE"]),
    ("x.npy", ["check", "FILE"]),
    ("x.pt", ["check", "FILE"]),
    ("x.csv", ["augment", "FILE", "--to", "OUT"]),
    ("x.npz", ["compare", "FILE", "PHOTO"]),
    ("x.jpg", ["predict", "MODEL", "FILE"]),
    ("x.jpg", ["explain", "MODEL", "FILE", "--out", "OUT"]),
    ("x.safetensors", ["train", "PHOTOS", "--weights", "FILE", "--run", "OUT"]),
    ("x.sqlite", ["request-log", "FILE"]),
    ("x.sqlite", ["serve", "MODEL", "--port", "0", "--request-log", "FILE"]),
    ("x.pem", ["serve", "MODEL", "--port", "0", "--tls-cert", "FILE", "--tls-key", "FILE"]),
    ("x.csv", ["predict", "MODEL", "PHOTOS", "--out", "FILE"]),
    ("x.html", ["check", "PHOTOS", "--html", "FILE"]),
    ("x.png", ["augment", "PHOTOS", "--sheet", "FILE"]),
]


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """Fail where something waits, rather than wait with it."""

    def late(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code in {1, 2}
    result = capsys.readouterr()
    assert "Traceback" not in result.err
    return result.out + result.err


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=lambda value: value[0])
def test_every_command_rejects_special_files(
    name: str,
    command: list[str],
    files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = files["OUT"].with_name(name)
    fifo(path)
    given = {**files, "FILE": path}
    words = []
    for word in command:
        start, slash, rest = word.partition("/")
        words.append(str(given.get(start, start)) + slash + rest)
    result = refused(words, capsys)
    assert "pipe" in result or "does not exist" in result or "no such file" in result
    assert name in result
    assert path.is_fifo()


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("command", [COMMANDS[0], COMMANDS[8], COMMANDS[12], COMMANDS[19]])
def test_every_kind_of_special_file_is_rejected(
    command: tuple[str, list[str]], kind: str, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = files["OUT"].with_name(command[0])
    KINDS[kind](path)
    given = {**files, "FILE": path}
    assert path.name in refused([str(given.get(word, word)) for word in command[1]], capsys)


def test_special_file_in_a_table_is_skipped(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = files["PHOTOS"]
    fifo(folder / "red" / "pipe.png")
    rows = [f"{label}/{number}.png,{label}" for label in ("red", "blue") for number in range(4)]
    table = folder / "table.csv"
    table.write_text("\n".join(["path,label", *rows, "red/pipe.png,red", ""]), encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["check", str(table)])
    result = capsys.readouterr().out
    assert "red/pipe.png" in result
    assert "not a file but a pipe, a socket or a device" in result


def test_run_with_a_special_file_is_rejected(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run.json", "recipe.yaml", "manifest.csv"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        result = f'{{"data": "{files["PHOTOS"]}", "keep_splits": null, "classes": [], "done": false}}'
        (folder / "run.json").write_text(result, encoding="utf-8")
        (folder / "recipe.yaml").write_text("extends: custom-resnet\n", encoding="utf-8")
        (folder / name).unlink(missing_ok=True)
        fifo(folder / name)
        assert str(folder) in refused(["train", "--resume", str(folder)], capsys)


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "FILE", "PHOTO"],
        ["predict", "MODEL", "FILE"],
        ["explain", "MODEL", "PHOTO", "--out", "FILE"],
        ["augment", "PHOTOS", "--to", "FILE"],
        ["train", "FILE"],
        ["train", "--resume", "FILE"],
        ["check", "FILE"],
    ],
)
def test_cyclic_links_are_reported(
    command: list[str], files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = files["OUT"].with_name("circle")
    path.symlink_to(path)
    given = {**files, "FILE": path}
    assert "circle" in refused([str(given.get(word, word)) for word in command], capsys)


@pytest.fixture
def files(colours: Path, colour_bundle: Path, tmp_path: Path) -> dict[str, Path]:
    """What commands need besides the file that is refused."""
    photos = tmp_path / "photos"
    for label in ("red", "blue"):
        (photos / label).mkdir(parents=True)
        for number in range(4):
            shutil.copy(colours / label / f"{number:03}.png", photos / label / f"{number}.png")
    return {
        "PHOTOS": photos,
        "PHOTO": photos / "red" / "1.png",
        "MODEL": colour_bundle,
        "OUT": tmp_path / "out",
    }
