"""Malicious and broken uploads do not make the server fail or grow."""

import contextlib
import io
import random
import socket
import struct
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image
from process_memory import peak_memory

_GROWTH = 256 * 2**20


@pytest.fixture(scope="module")
def running(serve_colours):
    return serve_colours()


def _png(width: int, height: int, data: bytes = b"", *, depth: int = 8, colour: int = 2) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _odd_ones(painted) -> Iterator[bytes]:
    """Files that are no photo, or a photo that is unusual; all are answered, one way or the other."""
    yield from (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM", b"RIFF\0\0\0\0WEBP")
    yield _png(2**31 - 1, 2**31 - 1)
    yield _png(0, 0)
    yield _png(4096, 4096, zlib.compress(b"\0" * (4096 * 3 + 1) * 4096, 9))
    yield _png(4096, 4096, zlib.compress(b"\0" * 1000))
    yield _png(30_000, 30_000, zlib.compress(b"\0" * 2**20, 9))
    yield _png(4096, 4096, zlib.compress(b"\0" * (4096 * 8 + 1) * 4096, 9), depth=16, colour=6)
    yield b"GIF89a" + painted()
    yield painted() + b"PK\x03\x04" + b"\0" * 1000
    yield b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield b"%!PS-Adobe-3.0 EPSF-3.0\n"
    yield b"P6 99999 99999 255\n"
    picture = Image.effect_noise((300, 200), 80)
    for mode in ("L", "1", "I;16", "P", "LA", "RGBA"):
        yield _saved(picture.convert(mode), "PNG")
    for mode in ("L", "CMYK", "RGB"):
        yield _saved(picture.convert(mode), "JPEG")
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield _saved(picture.convert("RGB"), "JPEG", exif=exif)
    yield _saved(picture, "PNG", save_all=True, append_images=[picture] * 5)
    for kind in ("GIF", "WEBP", "TIFF", "BMP"):
        yield _saved(picture, kind)


def _mutated(count: int) -> Iterator[bytes]:
    """Sound files with bytes changed, cut out or put in."""
    source = random.Random(0)
    picture = Image.effect_noise((200, 150), 80)
    sound = [
        _saved(picture.convert("RGB"), "JPEG"),
        _saved(picture.convert("RGB"), "JPEG", progressive=True),
        _saved(picture.convert("RGBA"), "PNG"),
        _saved(picture.convert("P"), "PNG"),
    ]
    for number in range(count):
        data = bytearray(sound[number % len(sound)])
        for _ in range(source.randint(1, 20)):
            # The header decides most; so it is hit most.
            place = source.randrange(len(data) if source.random() < 0.3 else min(700, len(data)))
            how = source.randrange(4)
            if how == 0:
                data[place] = source.randrange(256)
            elif how == 1:
                data[place : place + 4] = b"\xff\xff\xff\xff"
            elif how == 2:
                del data[place : place + source.randint(1, 50)]
            else:
                data[place:place] = source.randbytes(source.randint(1, 50))
        yield bytes(data)


def test_malicious_files_do_not_make_the_server_fail_or_grow(running, painted):
    with running.client() as client:
        assert client.post("/classify", files={"image": ("a", painted())}).status_code == 200
        before = peak_memory(running.process.pid)
        seen: dict[int, int] = {}
        for path in ("/classify", "/classify?detail=1&explain=1"):
            for photo in _odd_ones(painted):
                answer = client.post(path, files={"image": ("a.jpg", photo)})
                assert answer.status_code in {200, 400}, (photo[:40], answer.text)
                seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        for photo in _mutated(240):
            answer = client.post("/classify", files={"image": ("a.jpg", photo)})
            assert answer.status_code in {200, 400}, (photo[:40], answer.text)
            seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        assert client.post("/classify", files={"image": ("a", painted())}).status_code == 200
    assert min(seen[200], seen[400]) > 30
    assert peak_memory(running.process.pid) - before < _GROWTH


_HEAD = b"POST /classify HTTP/1.1\r\nHost: localhost\r\n"
_FORM = b"Content-Type: multipart/form-data; boundary=b\r\n"
_PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'

_RAW = {
    "no http": (b"hello\r\n\r\n", 400),
    "two lengths": (_HEAD + _FORM + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "length no number": (_HEAD + _FORM + b"Content-Length: x\r\n\r\n", 400),
    "length too large": (_HEAD + _FORM + b"Content-Length: 99999999999\r\n\r\n", 400),
    "length too large, waiting": (
        _HEAD + _FORM + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n",
        400,
    ),
    "bad chunk": (_HEAD + _FORM + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "no boundary": (_HEAD + b"Content-Type: multipart/form-data\r\nContent-Length: 1\r\n\r\na", 400),
    "long boundary": (
        _HEAD + b"Content-Type: multipart/form-data; boundary=" + b"b" * 99 + b"\r\nContent-Length: 1\r\n\r\na",
        400,
    ),
    "other boundary": (_HEAD + _FORM + b"Content-Length: 9\r\n\r\n--c\r\n\r\n\r\n", 400),
    "no end": (_HEAD + _FORM + b"Content-Length: %d\r\n\r\n" % len(_PART) + _PART, 400),
    "only an end": (_HEAD + _FORM + b"Content-Length: 7\r\n\r\n--b--\r\n", 400),
    "long part header": (
        _HEAD + _FORM + b"Content-Length: 9009\r\n\r\n--b\r\nX: " + b"x" * 9000,
        400,
    ),
    "long header": (_HEAD + b"X: " + b"x" * 100_000, 431),
}


@pytest.mark.parametrize(("sent", "status"), _RAW.values(), ids=_RAW.keys())
def test_invalid_requests_are_rejected(running, sent: bytes, status: int):
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(sent)
        answer = b""
        while b"}" not in answer and (more := connection.recv(65536)):
            answer += more
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b'{"error":' in answer


def test_rest_of_an_oversized_upload_is_not_read(running):
    chunk = b"10000\r\n" + b"\0" * 0x10000 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(_HEAD + _FORM + b"Transfer-Encoding: chunked\r\n\r\n")
        part = _PART + b"\0" * 1000
        connection.sendall(b"%x\r\n" % len(part) + part + b"\r\n")
        with contextlib.suppress(ConnectionError, TimeoutError):
            while sent < 2**28:
                connection.sendall(chunk)
                sent += len(chunk)
    assert sent < 2**27


def test_broken_connections_leave_nothing_behind(running, painted):
    photo = painted(size=(640, 480))
    for size in range(0, len(photo), 97):
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
            connection.sendall(_HEAD + _FORM + b"Content-Length: 100000\r\n\r\n" + _PART + photo[:size])
    with running.client() as client:
        assert client.post("/classify", files={"image": ("a", photo)}).status_code == 200
