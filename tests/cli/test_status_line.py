"""The status line of a terminal, tested in a pseudo-terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from assay.cli import console, status_line
from assay.core.text_layout import display_width

_ASSAY = Path(sys.executable).with_name("assay")


def video(path: Path, seconds: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 64))
    for _ in range(10 * seconds):
        writer.write(np.full((64, 64, 3), (20, 20, 220), np.uint8))
    writer.release()
    return path


class Terminal:
    """A command whose standard streams are a terminal; it is the terminal's session leader."""

    def __init__(self, *arguments: object, term: str = "xterm") -> None:
        self.process, self.master = pty.fork()
        if self.process == 0:
            environment = {**os.environ, "TERM": term}
            environment.pop("DISPLAY", None)
            os.execve(_ASSAY, ["assay", *map(str, arguments)], environment)  # noqa: S606
        self.before = termios.tcgetattr(self.master)
        self.shown = b""

    def read_until(self, pattern: str, seconds: float = 60) -> str:
        end = time.monotonic() + seconds
        while re.search(pattern, self.text) is None and time.monotonic() < end:
            self._read()
        assert re.search(pattern, self.text), self.text
        return self.text

    def end(self, seconds: float = 60) -> int:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._read()
            ended, status = os.waitpid(self.process, os.WNOHANG)
            if ended:
                self.after = termios.tcgetattr(self.master)
                while self._read():
                    pass
                os.close(self.master)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.process, signal.SIGKILL)
        pytest.fail(self.text)

    @property
    def text(self) -> str:
        return self.shown.decode("utf-8", "replace")

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 0.1)[0]:
            return False
        try:
            more = os.read(self.master, 65536)
        except OSError:
            return False
        self.shown += more
        return bool(more)


def screen(text: str) -> list[str]:
    """Return the visible text: what follows the last erasing carriage return."""
    return [line.rsplit("\r\x1b[K", 1)[-1].strip() for line in text.split("\r\n")]


def test_unchanged_scene_updates_the_status_line(colour_bundle: Path, tmp_path: Path):
    terminal = Terminal("watch", colour_bundle, video(tmp_path / "video.mp4", 3), "--no-abstain")
    assert terminal.end() == 0
    status = r"\d+ frames  \d+\.\d fps  red 0\.\d+  \d+ dropped"
    assert len(re.findall(status, terminal.text)) >= 2
    drawn = re.findall(r"\r\x1b\[K[^\r]*\d+ frames  ", terminal.text)
    assert len(set(drawn)) <= 4 * 5
    lines = screen(terminal.text)
    assert not [line for line in lines if re.search(status, line)]
    assert [line.split()[1] for line in lines if re.match(r"\d+\.\d\d  ", line)] == ["red"]
    assert re.match(r"assay: 30 frames", lines[-2])


@pytest.mark.parametrize("way", ["q", "ctrl-c", "sigterm"])
def test_terminal_is_restored_at_the_end(colour_bundle: Path, tmp_path: Path, way: str):
    terminal = Terminal("watch", colour_bundle, video(tmp_path / "video.mp4", 90))
    terminal.read_until(r"\d frames  ")
    assert not termios.tcgetattr(terminal.master)[3] & termios.ICANON
    if way == "sigterm":
        os.kill(terminal.process, signal.SIGTERM)
    else:
        os.write(terminal.master, b"q" if way == "q" else b"\x03")
    assert terminal.end() == 0
    assert terminal.after == terminal.before
    assert "frames in" in screen(terminal.text)[-2]
    assert screen(terminal.text)[-1] == ""


def test_collect_shows_its_counts(tmp_path: Path):
    arguments = ("--to", tmp_path / "photos", "--class", "cup", "--every", "10s")
    terminal = Terminal("collect", video(tmp_path / "video.mp4", 30), *arguments)
    assert terminal.end() == 0
    assert re.search(r"\d+ frames  \d+ new", terminal.text)
    assert screen(terminal.text)[-2].startswith("cup: 3 new, 3 in total")
    assert terminal.after == terminal.before


def test_other_outputs_have_no_status_line(colour_bundle: Path, tmp_path: Path):
    path = video(tmp_path / "video.mp4", 1)
    ended = subprocess.run(
        [_ASSAY, "watch", colour_bundle, path], capture_output=True, check=True, stdin=subprocess.DEVNULL
    )
    assert b"\r" not in ended.stdout + ended.stderr
    assert b"dropped" not in ended.stdout
    terminal = Terminal("watch", colour_bundle, path, term="dumb")
    assert terminal.end() == 0
    assert "\x1b[K" not in terminal.text


def test_status_line_is_updated_at_most_four_times_per_second(monkeypatch: pytest.MonkeyPatch, capsys):
    now = [0.0]
    line = status_line.StatusLine(sys.stderr, lambda: now[0])
    monkeypatch.setattr(status_line, "_active", line)
    for frame in range(101):
        now[0] = frame / 100
        line.update(f"frame {frame} \x1b[31m\n" + "x" * 200)
    console.echo("a line", err=True)
    line.close()
    shown = capsys.readouterr().err
    drawn = re.findall(r"frame \d+", shown)
    assert drawn == ["frame 0", "frame 25", "frame 50", "frame 75", "frame 100", "frame 100"]
    assert "\x1b[31m" not in shown
    assert all(display_width(part) < 80 for part in shown.split("\r\x1b[K"))
    assert "\r\x1b[Ka line\n" in shown
    assert shown.endswith("\r\x1b[K")
