"""Every classification request is in the request log and the logs, with the reason of a rejection."""

import asyncio
import hashlib
import io
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from PIL import Image

from assay.core.cpu import cpu_count
from assay.serving.app import create_app
from assay.serving.auth.authenticator import SIGNATURE_HEADERS, canonical_message, sign
from assay.serving.auth.keys import KeyManager
from assay.serving.components import Components
from assay.serving.compute_pool import ComputePool
from assay.serving.model_registry import ModelRegistry
from assay.serving.request_log.stores import RecordQuery, make_store
from assay.serving.request_record import RequestRecord
from assay.serving.service import Service
from assay.serving.settings import ModelSource, ServeSettings, TelemetrySettings
from assay.serving.telemetry.telemetry import Telemetry

_TIERS = {
    "gold": {"per_minute": 6000, "burst": 2000, "max_concurrent": 64},
    "tight": {"per_minute": 1, "burst": 1, "max_concurrent": 1},
}


class Site(NamedTuple):
    """A server that requires keys, and its folder."""

    server: Any
    folder: Path
    keys: dict[str, str]

    def records(self, request_id: str) -> list[RequestRecord]:
        """What the request log holds of a request."""

        async def read() -> list[RequestRecord]:
            store = make_store(str(self.folder / "requests.sqlite"))
            try:
                return [record async for record in store.read(RecordQuery(request_id=request_id))]
            finally:
                await store.close()

        return asyncio.run(read())

    def lines(self, name: str, request_id: str) -> list[dict[str, Any]]:
        """What a log holds of a request."""
        text = (self.folder / "logs" / name).read_text(encoding="utf-8")
        return [line for line in map(json.loads, text.splitlines()) if line.get("request_id") == request_id]


@pytest.fixture(scope="module")
def site(serve, make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("log")
    manager = KeyManager(folder / "keys")
    made = {
        "good": manager.create("line 1", "gold", ("classify",)),
        "tight": manager.create("line 2", "tight", ("classify",)),
        "metrics": manager.create("prometheus", "gold", ("metrics",)),
        "expired": manager.create("line 3", "gold", ("classify",), 0.001),
        "revoked": manager.create("line 4", "gold", ("classify",)),
    }
    manager.revoke(made["revoked"].id)
    server = serve(
        make_bundle(),
        "--keys",
        folder / "keys",
        "--request-log",
        folder / "requests.sqlite",
        "--log-dir",
        folder / "logs",
        limits__tiers=json.dumps(_TIERS),
        uploads__upload_timeout=1,
        auth__max_failures_burst=1000,
        lifecycle__drain_delay=0,
        request_log__region="eu-west",
    )
    return Site(server, folder, {name: manager.token(key) for name, key in made.items()})


def _saved(kind: str, size: tuple[int, int] = (64, 48)) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(stream, kind)
    return stream.getvalue()


def _form(photo: bytes) -> dict[str, Any]:
    return {"files": {"image": ("a", photo)}}


def _refused(photo: bytes) -> Iterator[tuple[str, dict[str, Any], int, str]]:
    yield "/classify", _form(b"text"), 400, "Invalid image format. Allowed formats: jpg, jpeg, png"
    yield "/classify", _form(_saved("WEBP")), 400, "Invalid image format"
    yield "/classify", _form(b"\0" * (2**24 + 1)), 400, "File size exceeds maximum limit"
    yield "/classify", _form(_saved("PNG", (4097, 1))), 400, "Image dimensions exceed"
    yield "/classify", _form(photo[:-20]), 400, "The JPEG image cannot be read"
    yield "/classify?explain=1", _form(_saved("PNG")[:300]), 400, "The PNG image cannot be read"
    yield "/classify", {}, 400, "No image file provided"
    yield "/classify", {"json": {}}, 415, "Content-Type must be multipart/form-data"
    yield "/classify?detail=perhaps", _form(photo), 400, "detail: "
    yield "/classify?model=none", _form(photo), 404, "There is no such model"
    yield "/classify/batch", {"files": [("image", ("a", b"x"))] * 33}, 400, "Send at most 32 images"
    yield "/v2/models/colours/infer", {"content": b"["}, 400, "The body is not the JSON"
    yield "/v2/models/none/infer", {"content": b"{}"}, 404, "There is no such model"
    pixels = {"name": "photos", "datatype": "BYTES", "shape": [1], "data": ["AAAA"]}
    yield "/v2/models/colours/infer", {"json": {"inputs": [pixels]}}, 400, "Invalid image format"


def _bearer(key: str, request_id: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "X-Request-ID": request_id}


def _check(site: Site, eventually: Callable[..., None], request_id: str, client: tuple[str, str]) -> RequestRecord:
    """Return the only record of a rejected request, and check that both logs agree."""
    logs = ("access.log", "error.log")
    eventually(lambda: bool(site.records(request_id)) and all(site.lines(name, request_id) for name in logs))
    (record,) = site.records(request_id)
    for name in logs:
        (line,) = site.lines(name, request_id)
        assert (line["status"], line["error"]) == (record.status, record.error), name
        assert (line["client_id"], line["tier"]) == client, name
        assert line["level"] == ("warning" if record.status < 500 else "error")
    assert record.client_id == client[0]
    return record


def test_rejected_uploads_are_logged_with_a_reason(site: Site, eventually: Callable[..., None]):
    cases = list(enumerate(_refused(_saved("JPEG", (640, 480)))))
    with site.server.client() as client:
        answers = {
            f"refused-{number}": client.post(path, headers=_bearer(site.keys["good"], f"refused-{number}"), **sent)
            for number, (path, sent, *_) in cases
        }
    for number, (path, _, status, sentence) in cases:
        answer = answers[f"refused-{number}"]
        record = _check(site, eventually, f"refused-{number}", ("line 1", "gold"))
        assert (answer.status_code, record.status) == (status, status), path
        message = answer.json()["error"]
        assert sentence in message
        # Each of several photos has its own reason, and the response names the photo.
        assert record.error in {message, message.removeprefix("photos[0]: ")}


def test_each_photo_of_a_batch_is_logged_separately(site: Site, eventually: Callable[..., None]):
    photos = [_saved("JPEG"), b"text", b"\0" * (2**24 + 1), _saved("PNG")]
    with site.server.client() as client:
        headers = _bearer(site.keys["good"], "batch-1")
        answer = client.post("/classify/batch", files=[("image", ("a", photo)) for photo in photos], headers=headers)
    assert answer.status_code == 200
    eventually(lambda: len(site.records("batch-1")) == 4 and len(site.lines("error.log", "batch-1")) == 2)
    records = site.records("batch-1")
    assert {record.region for record in records} == {"eu-west"}
    errors = {(record.status, record.error) for record in records}
    wrong = {"Invalid image format. Allowed formats: jpg, jpeg, png", "File size exceeds maximum limit"}
    assert errors == {(200, None), *((400, text) for text in wrong)}
    # The size that was too large was never kept; of the text at least the size is known.
    seen = {record.image and (record.image.size, record.image.format) for record in records if record.status == 400}
    assert seen == {None, (4, "unknown")}


def test_slow_and_interrupted_uploads_are_logged(site: Site, eventually: Callable[..., None]):
    head = (
        "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: 1000\r\nAuthorization: Bearer {site.keys['good']}\r\nX-Request-ID: "
    )
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as slow:
        slow.sendall(head.encode() + b"slow-1\r\n\r\n--b\r\n")
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")
    assert _check(site, eventually, "slow-1", ("line 1", "gold")).error == "The upload took too long"
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as broken:
        chunked = head.replace("Content-Length: 1000", "Transfer-Encoding: chunked")
        broken.sendall(chunked.encode() + b"broken-1\r\n\r\n3\r\n--b\r\n")
        time.sleep(0.2)
        broken.sendall(b"no length\r\n")
        assert broken.recv(100).startswith(b"HTTP/1.1 400 ")
    record = _check(site, eventually, "broken-1", ("line 1", "gold"))
    assert (record.status, record.error) == (400, "Invalid HTTP request received")
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as gone:
        gone.sendall(head.encode() + b"gone-1\r\n\r\n--b\r\n")
    record = _check(site, eventually, "gone-1", ("line 1", "gold"))
    assert (record.status, record.error) == (499, "The client disconnected")


@pytest.mark.parametrize(
    ("key", "client", "status"),
    [
        ("tight", ("line 2", "tight"), 429),
        ("metrics", ("prometheus", "gold"), 403),
        ("expired", ("line 3", "gold"), 401),
        ("revoked", ("anonymous", "anonymous"), 401),
        ("wrong", ("anonymous", "anonymous"), 401),
    ],
)
def test_rejections_are_logged_with_the_authenticated_client(
    site: Site, eventually: Callable[..., None], key: str, client: tuple[str, str], status: int
):
    token = site.keys.get(key) or site.keys["good"][:-1] + "_"
    with site.server.client() as http:
        for number in range(2):
            answer = http.post("/classify", headers=_bearer(token, f"{key}-{number}"), **_form(_saved("JPEG")))
    assert answer.status_code == status
    record = _check(site, eventually, f"{key}-1", client)
    assert (record.status, record.error) == (status, answer.json()["error"])


def _signed(token: str, photo: bytes, *, at: float = 0, nonce: str) -> dict[str, str]:
    key, _, secret = token.partition(".")
    seconds, digest = str(int(time.time() + at)), hashlib.sha256(photo).hexdigest()
    signature = sign(secret, canonical_message("POST", "/classify", seconds, nonce, digest))
    return dict(zip(SIGNATURE_HEADERS, (key, seconds, nonce, digest, signature), strict=True))


def test_signed_requests_are_logged(site: Site, eventually: Callable[..., None]):
    photo, known, nobody = _saved("JPEG"), ("line 1", "gold"), ("anonymous", "anonymous")
    good, tight = site.keys["good"], site.keys["tight"]
    sent = [
        # Another photo than the signed one: the signature itself is right.
        (_signed(good, b"other", nonce="a" * 20), known, 401),
        # Captured and sent again, or sent too late: whoever did that proves nothing.
        (_signed(good, photo, nonce="b" * 20), known, 200),
        (_signed(good, photo, nonce="b" * 20), nobody, 401),
        (_signed(good, photo, at=-1000, nonce="c" * 20), nobody, 401),
        (_signed(site.keys["expired"], photo, nonce="d" * 20), ("line 3", "gold"), 401),
        (_signed(tight, photo, nonce="e" * 20), ("line 2", "tight"), 429),
    ]
    with site.server.client() as client:
        client.post("/classify", headers=_bearer(tight, "uses-it-up"), **_form(photo))
        for number, (headers, who, status) in enumerate(sent):
            headers["X-Request-ID"] = f"signed-{number}"
            assert client.post("/classify", headers=headers, **_form(photo)).status_code == status, number
            if status != 200:
                _check(site, eventually, f"signed-{number}", who)


_OVERLOADED = {
    "deadline": ({"batching__deadline": 0.0001}, 504, "No answer within 0.0001 s"),
    "memory": ({"uploads__upload_memory": 0.001}, 503, "Too many requests wait; try again in 1 s"),
}


@pytest.mark.parametrize("case", _OVERLOADED)
def test_overload_is_logged(
    serve, make_bundle: Callable[..., Path], tmp_path: Path, eventually: Callable[..., None], case: str
):
    settings, status, sentence = _OVERLOADED[case]
    database, logs = tmp_path / "requests.sqlite", tmp_path / "logs"
    bundle = make_bundle(convolutions=3)
    server = serve(bundle, "--request-log", database, "--log-dir", logs, lifecycle__drain_delay=0, **settings)
    with server.client() as client:
        for path in ("/classify", "/classify?detail=1"):
            answer = client.post(path, headers={"X-Request-ID": path[-8:]}, **_form(_saved("JPEG", (640, 480))))
            assert (answer.status_code, answer.json()) == (status, {"error": sentence})
    for request_id in ("classify", "detail=1"):
        record = _check(Site(server, tmp_path, {}), eventually, request_id, ("anonymous", "anonymous"))
        assert (record.status, record.error) == (status, sentence)


def test_failing_model_is_in_the_error_log_with_request_id_and_traceback(
    make_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    watching = Telemetry(TelemetrySettings(log_dir=tmp_path))
    settings = ServeSettings()
    models = ModelRegistry(
        [ModelSource(make_bundle())],
        settings=settings.models,
        pool=ComputePool(cpu_count()),
        batching=settings.batching,
        uploads=settings.uploads,
        telemetry=watching,
    )

    def fail(*_: object) -> None:
        raise RuntimeError("the runtime gave up")

    async def ask() -> list[httpx.Response]:
        app = create_app(Service(settings, models, Components(telemetry=watching)))
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [
                await client.post(path, headers={"X-Request-ID": f"failed-{number}"}, **_form(_saved("JPEG")))
                for number, path in enumerate(("/classify", "/classify?detail=1", "/classify/batch"))
            ]

    monkeypatch.setattr(type(models.default.classifier), "predict_pixels", fail)
    try:
        answers = asyncio.run(ask())
    finally:
        watching.close()
        logging.getLogger().setLevel(logging.WARNING)
    assert [(answer.status_code, answer.json()) for answer in answers] == [
        (500, {"error": "Internal server error"})
    ] * 3
    lines = [json.loads(line) for line in (tmp_path / "error.log").read_text(encoding="utf-8").splitlines()]
    for number in range(3):
        failure, answered = sorted(
            (line for line in lines if line["request_id"] == f"failed-{number}"), key=lambda line: "error" in line
        )
        assert "RuntimeError: the runtime gave up" in failure["exception"]
        assert (answered["status"], answered["error"]) == (500, "Internal server error")
