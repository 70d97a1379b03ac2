"""Files of object stores and HTTP servers: what is missing for ever, and what may be there later."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from assay.core.errors import AssayError
from assay.core.files import is_storage_error
from assay.scale import storage

pytest.importorskip("aiohttp")


class _Status(BaseHTTPRequestHandler):
    """Answers /404.png with that status, and closes the connection for /0.png."""

    def do_GET(self) -> None:
        status = int(self.path.strip("/").partition(".")[0])
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-length", "1")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"x")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - of the base class
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Status) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_photo_on_a_server_is_read(address: str):
    assert storage.read(f"{address}/200.png") == b"x"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, FileNotFoundError),
        (410, FileNotFoundError),
        (400, FileNotFoundError),
        (401, PermissionError),
        (403, PermissionError),
    ],
)
def test_what_the_server_refuses_is_final(address: str, status: int, kind: type[OSError]):
    with pytest.raises(kind) as caught:
        storage.read(f"{address}/{status}.png")
    assert not is_storage_error(caught.value)


@pytest.mark.parametrize("status", [408, 429, 500, 503, 0])
def test_what_may_succeed_later_is_an_error_of_the_storage(address: str, status: int):
    with pytest.raises(OSError, match=str(status or "disconnected")) as caught:
        storage.read(f"{address}/{status}.png")
    assert is_storage_error(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.png", "http://nowhere.invalid/a.png"])
def test_a_server_that_does_not_answer_is_an_error_of_the_storage(url: str):
    with pytest.raises(OSError, match="Cannot connect") as caught:
        storage.read(url)
    assert is_storage_error(caught.value)


def test_an_address_without_a_bucket_is_a_sentence():
    s3fs = pytest.importorskip("s3fs")
    try:
        with pytest.raises(AssayError, match=r"^s3:// cannot be read \("):
            list(storage.walk("s3://", without="x"))
        with pytest.raises(OSError, match="Attempt to open non key-like path") as caught:
            storage.read("s3://")
        assert not is_storage_error(caught.value)
    finally:
        # Later tests have credentials.
        s3fs.S3FileSystem.clear_instance_cache()


def test_an_error_of_the_reader_is_not_one_of_the_storage(address: str):
    with pytest.raises(ValueError, match="mine"), storage.open_binary(f"{address}/200.png"):
        raise ValueError("mine")
