"""Log lines are written in order and rotated by size, and dropped if the writer cannot keep up."""

import logging
import subprocess
import sys
import threading
from pathlib import Path

from assay.serving.telemetry.logs import BackgroundLogWriter, RotatingLogFile


class Slow(logging.Handler):
    """A disk that hangs until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.begun.set()
        assert self.go.wait(10)
        self.lines += record.getMessage().splitlines()


def test_files_are_rotated_by_size(tmp_path: Path):
    path = tmp_path / "access.log"
    lost: list[int] = []
    writer = BackgroundLogWriter[int](RotatingLogFile(path, 0.01, 2, lost.append), "{:0100}".format, queue_size=100_000)
    for number in range(5000):
        assert writer.put(number)
    writer.close()
    files = [tmp_path / "access.log.2", tmp_path / "access.log.1", path]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    kept = [int(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert kept == list(range(kept[0], 5000))
    assert all(file.stat().st_size < 0.01 * 2**20 + 500 * 101 for file in files)
    assert lost == []


def test_slow_disk_does_not_block_callers():
    disk = Slow()
    writer = BackgroundLogWriter[int](disk, str, queue_size=10)
    assert writer.put(0)
    assert disk.begun.wait(10)
    assert [writer.put(number) for number in range(1, 13)] == [True] * 10 + [False] * 2
    disk.go.set()
    writer.close()
    assert disk.lines == [str(number) for number in range(11)]


def test_lines_dropped_on_a_full_disk_are_counted(tmp_path: Path):
    lost: list[int] = []
    (tmp_path / "access.log").symlink_to("/dev/full")
    writer = BackgroundLogWriter[str](RotatingLogFile(tmp_path / "access.log", 1, 1, lost.append), str)
    writer.put("one\ntwo\nthree")
    writer.close()
    assert lost == [3]


def test_hanging_disk_does_not_block_shutdown():
    disk = Slow()
    writer = BackgroundLogWriter[int](disk, str, queue_size=2)
    for number in range(4):
        writer.put(number)
    assert disk.begun.wait(10)
    writer.close(timeout=0.01)
    assert disk.lines == []
    disk.go.set()
    writer.close()


def test_lines_are_written_to_a_pipe_one_by_one():
    pieces: list[str] = []

    class Pieces(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            pieces.append(record.getMessage())

    writer = BackgroundLogWriter[int](Pieces(), str, max_lines=1)
    for number in range(100):
        writer.put(number)
    writer.close()
    assert pieces == [str(number) for number in range(100)]


def test_hanging_pipe_reader_does_not_block_shutdown():
    code = (
        "from assay.serving.telemetry.logs import PipeHandler, BackgroundLogWriter\n"
        "writer = BackgroundLogWriter(PipeHandler(1), 'x'.__mul__, max_lines=1)\n"
        "for _ in range(100):\n"
        "    writer.put(10_000)\n"
        "writer.close(timeout=0.1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.wait(timeout=30) == 0
