"""`assay watch` on a network stream (Motion JPEG over HTTP from this process): reconnection, Ctrl-C and errors."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

_COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220)}


class Camera(ThreadingHTTPServer):
    """Sends twenty images of `colour` per second to all clients while it is `on`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StreamHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/video"
        self.on = threading.Event()
        self.on.set()
        self.colour = "red"
        self.listeners = 0

    def picture(self) -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (64, 48), _COLOURS[self.colour]).save(stream, "JPEG")
        return stream.getvalue()


class StreamHandler(BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self) -> None:
        if not self.server.on.is_set():
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        self.server.listeners += 1
        try:
            while self.server.on.is_set():
                picture = self.server.picture()
                head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")
                time.sleep(0.05)
        except OSError:
            self.close_connection = True
        finally:
            self.server.listeners -= 1

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def camera() -> Iterator[Camera]:
    with Camera() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.on.clear()
        server.shutdown()
        thread.join()


class WatchProcess:
    """`assay watch` as a process, in an empty folder that also takes its temporary files."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.folder = folder / "empty"
        self.folder.mkdir()
        names = ("TMPDIR", "TEMP", "TMP")
        environment = {**os.environ, **dict.fromkeys(names, str(self.folder)), "PYTHONUNBUFFERED": "1"}
        environment.pop("DISPLAY", None)
        command = [sys.executable, "-m", "assay", "watch", *map(str, arguments), "--json"]
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, cwd=self.folder, env=environment)

    @property
    def labels(self) -> list[str]:
        return [json.loads(line)["label"] for line in self.out.read_text(encoding="utf-8").splitlines()]

    def has_printed(self, words: str) -> bool:
        return words in self.err.read_text(encoding="utf-8")

    def until(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not happened():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"it did not happen: {self.out.read_text()} {self.err.read_text()}")
            time.sleep(0.02)

    def end(self, how: signal.Signals) -> str:
        self.process.send_signal(how)
        assert self.process.wait(20) == 0
        return self.err.read_text(encoding="utf-8")


@pytest.fixture
def watching(camera: Camera, colour_bundle: Path, tmp_path: Path) -> Iterator[WatchProcess]:
    started = WatchProcess(tmp_path, colour_bundle, camera.url, "--fps", "10", "--smooth", "200ms", "--hold", "100ms")
    yield started
    started.process.kill()
    started.process.wait()


def test_lost_stream_is_reconnected(camera: Camera, watching: WatchProcess):
    watching.until(lambda: watching.labels == ["red"])
    camera.on.clear()
    watching.until(lambda: watching.has_printed("is lost; reconnecting"))
    camera.colour = "blue"
    time.sleep(1)
    assert camera.listeners == 0
    camera.on.set()
    watching.until(lambda: watching.labels == ["red", "blue"])
    assert watching.has_printed("is back after")
    assert camera.listeners == 1
    watching.end(signal.SIGINT)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("state", ["sending", "lost"])
def test_signal_releases_the_stream_and_leaves_no_files(
    how: signal.Signals, state: str, camera: Camera, watching: WatchProcess
):
    watching.until(lambda: watching.labels == ["red"])
    if state == "lost":
        camera.on.clear()
        watching.until(lambda: watching.has_printed("is lost"))
    err = watching.end(how)
    assert "dropped" in err
    assert "Traceback" not in err
    deadline = time.monotonic() + 10
    while camera.listeners and time.monotonic() < deadline:
        time.sleep(0.02)
    assert camera.listeners == 0
    assert [*watching.folder.iterdir()] == []


def test_missing_stream_is_reported(camera: Camera, colour_bundle: Path, tmp_path: Path):
    camera.on.clear()
    watching = WatchProcess(tmp_path, colour_bundle, camera.url)
    assert watching.process.wait(60) == 1
    assert "check the URL and that the stream is running" in watching.err.read_text(encoding="utf-8")
    assert "Traceback" not in watching.err.read_text(encoding="utf-8")
