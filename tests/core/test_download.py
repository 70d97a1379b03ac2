"""`download` from a local server that cuts connections, forgets and changes files."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from http_server import running

from assay.core.download import download
from assay.core.errors import AssayError, UsageError

BODY = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `body` at /file; `cuts` are the byte counts after which the next answers break off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.cuts: list[int] = []
        self.ranges = True
        self.minds_if_range = True
        self.etag: str | None = '"one"'
        self.seen: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        here = self.server
        requested = self.headers.get("Range")
        here.seen.append(requested)
        if self.path == "/moved":
            self.answer(302, b"", {"Location": "/file"})
        elif self.path == "/elsewhere":
            self.answer(302, b"", {"Location": "ftp://127.0.0.1/file"})
        elif self.path == "/silent":
            self.close_connection = True
            self.rfile.read(1)
        elif self.path != "/file":
            self.answer(404, b"no such file", {})
        elif requested and here.ranges and (not here.minds_if_range or self.headers["If-Range"] == here.etag):
            start = int(requested.removeprefix("bytes=").rstrip("-"))
            if start >= len(here.body):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(here.body)}"})
            else:
                span = f"bytes {start}-{len(here.body) - 1}/{len(here.body)}"
                self.answer(206, here.body[start:], {"Content-Range": span})
        else:
            self.answer(200, here.body, {})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts and self.path == "/file":
            self.wfile.write(body[: self.server.cuts.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as started:
        yield started


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("sha256", [None, SHA256, SHA256.upper(), SHA256[:8]])
def test_complete_download(server: Server, tmp_path: Path, sha256: str | None) -> None:
    result: list[tuple[str, int, int]] = []
    path = download(f"{server.url}/file", tmp_path / "new" / "file", sha256, progress=lambda *step: result.append(step))
    assert path.read_bytes() == BODY
    assert only(tmp_path / "new") == ["file"]
    assert result[-1] == ("file", len(BODY), len(BODY))


def test_redirect_is_followed(server: Server, tmp_path: Path) -> None:
    assert download(f"{server.url}/moved", tmp_path / "file", SHA256).read_bytes() == BODY


def test_redirect_to_another_protocol_is_rejected(server: Server, tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="not secure"):
        download(f"{server.url}/elsewhere", tmp_path / "file")
    assert only(tmp_path) == []


def test_existing_file_is_not_downloaded(server: Server, tmp_path: Path) -> None:
    download(f"{server.url}/file", tmp_path / "file", SHA256)
    download(f"{server.url}/file", tmp_path / "file", SHA256)
    assert len(server.seen) == 1
    (tmp_path / "file").write_bytes(b"spoiled")
    assert download(f"{server.url}/file", tmp_path / "file", SHA256).read_bytes() == BODY


def test_broken_connections_are_resumed_within_one_call(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000, 200_000, 100_000]
    assert download(f"{server.url}/file", tmp_path / "file", SHA256).read_bytes() == BODY
    assert server.seen == [None, "bytes=300000-", "bytes=500000-", "bytes=600000-"]
    assert only(tmp_path) == ["file"]


def test_next_call_resumes(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000, 0]
    with pytest.raises(AssayError, match="300,000 bytes are kept"):
        download(f"{server.url}/file", tmp_path / "file", SHA256)
    assert download(f"{server.url}/file", tmp_path / "file", SHA256).read_bytes() == BODY
    assert server.seen[-1] == "bytes=300000-"
    assert only(tmp_path) == ["file"]


@pytest.mark.parametrize("minds", [True, False])
def test_changed_file_starts_again(server: Server, tmp_path: Path, minds: bool) -> None:
    server.cuts = [300_000, 0]
    with pytest.raises(AssayError):
        download(f"{server.url}/file", tmp_path / "file")
    server.body, server.etag, server.minds_if_range = BODY[::-1], '"two"', minds
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == BODY[::-1]


def test_shorter_file_starts_again(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000, 0]
    with pytest.raises(AssayError):
        download(f"{server.url}/file", tmp_path / "file")
    server.body = BODY[:1000]
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == BODY[:1000]


def test_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [300_000, 400_000]
    assert download(f"{server.url}/file", tmp_path / "file", SHA256).read_bytes() == BODY
    server.cuts = [300_000, 300_000, 300_000]
    with pytest.raises(AssayError, match="check the network"):
        download(f"{server.url}/file", tmp_path / "other", SHA256)


def test_server_without_validator_is_not_resumed(server: Server, tmp_path: Path) -> None:
    server.etag, server.cuts = None, [300_000]
    assert download(f"{server.url}/file", tmp_path / "file", SHA256).read_bytes() == BODY
    assert server.seen == [None, None]


def test_wrong_hash_leaves_no_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="SHA-256") as refusal:
        download(f"{server.url}/file", tmp_path / "file", "0" * 64)
    assert SHA256 in str(refusal.value)
    assert only(tmp_path) == []


def test_missing_file_leaves_no_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="404 Not Found"):
        download(f"{server.url}/none", tmp_path / "file")
    assert only(tmp_path) == []


def test_silent_server_times_out(server: Server, tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(AssayError, match="timed out"):
        download(f"{server.url}/silent", tmp_path / "file", timeout=0.2)
    assert time.monotonic() - begun < 5
    assert only(tmp_path) == []


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
def test_missing_network_raises_within_seconds(tmp_path: Path, host: str) -> None:
    begun = time.monotonic()
    with pytest.raises(AssayError, match="copy it to") as refusal:
        download(f"http://{host}/file", tmp_path / "file", timeout=3)
    assert time.monotonic() - begun < 10
    assert host in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert only(tmp_path) == []


def test_environment_proxy_is_not_used_for_this_machine(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert download(f"{server.url}/file", tmp_path / "file", SHA256).read_bytes() == BODY


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/file", "photos.zip", "http://", ""])
def test_invalid_addresses_raise(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="is not a URL"):
        download(url, tmp_path / "file")


@pytest.mark.parametrize("sha256", ["", "abc", "x" * 64])
def test_invalid_hash_raises(tmp_path: Path, sha256: str) -> None:
    with pytest.raises(UsageError, match="SHA-256"):
        download("http://127.0.0.1:1/file", tmp_path / "file", sha256)


def test_folder_that_cannot_be_created_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AssayError, match="cannot write"):
        download(f"{server.url}/file", tmp_path / "file" / "below")


def test_concurrent_calls_download_once(server: Server, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=download, args=(f"{server.url}/file", tmp_path / "file", SHA256)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_bytes() == BODY
    assert len(server.seen) == 1
    assert only(tmp_path) == ["file"]
