"""The example clients against a real server that requires keys."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from assay.serving.auth import AccessDeniedError, AuthRequest
from assay.serving.auth.authenticator import content_digest
from assay.serving.auth.authorizer import make_authorizer
from assay.serving.auth.keys import KeyManager
from assay.serving.auth.settings import AuthSettings, RateLimitSettings
from assay.serving.middleware import join_headers
from assay.serving.telemetry import NullTelemetry

_CLIENTS = Path(__file__).parents[2] / "examples" / "client"
_COMMANDS = {
    "python": [sys.executable, _CLIENTS / "classify.py"],
    "shell": ["bash", _CLIENTS / "classify.sh"],
}


class Server(NamedTuple):
    """A running server, and its keys."""

    url: str
    manager: KeyManager


def _app(folder: Path) -> Starlette:
    authorizer = make_authorizer(AuthSettings(folder=folder), RateLimitSettings(), NullTelemetry())

    async def classify(request: Request) -> JSONResponse:
        headers = join_headers(request.headers.raw)
        assert request.client is not None
        try:
            admission = await authorizer.authorize(
                AuthRequest("POST", request.url.path, headers, request.client.host, "classify")
            )
            async with request.form() as form:
                image = form["image"]
                assert not isinstance(image, str)
                found = hashlib.sha256(await image.read()).hexdigest()
            admission.check_body(content_digest([found]))
            await admission.release()
        except AccessDeniedError as refused:
            return JSONResponse({"error": refused.text}, refused.status, refused.headers)
        return JSONResponse({"client": admission.client.id, "sha256": found})

    return Starlette(routes=[Route("/classify", classify, methods=["POST"])])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("keys")
    manager = KeyManager(folder)
    manager.add_master_key()
    config = uvicorn.Config(_app(folder), port=0, log_level="error", proxy_headers=False)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield Server(f"http://127.0.0.1:{port}", manager)
    running.should_exit = True
    thread.join()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file with bytes that text tools and forms might break."""
    path = tmp_path / "a photo.jpg"
    path.write_bytes(bytes(range(256)) * 40 + b"\r\n--\r\n\0")
    return path


@pytest.fixture(params=sorted(_COMMANDS))
def ask(request: pytest.FixtureRequest) -> Any:
    """Run a client, and return how it ended."""

    def run(*arguments: object, key: str) -> subprocess.CompletedProcess[str]:
        command = [*map(str, _COMMANDS[request.param]), *map(str, arguments)]
        environment = {**os.environ, "ASSAY_KEY": key, "NO_PROXY": "*"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def test_signed_photo_is_classified(server: Server, ask: Any, photo: Path):
    key = server.manager.create("line 3", "gold", ("classify",))
    # The server checks its key file once per second.
    for _ in range(50):
        ended = ask(server.url, photo, key=server.manager.token(key))
        if ended.returncode == 0:
            break
        time.sleep(0.1)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert json.loads(ended.stdout) == {
        "client": "line 3",
        "sha256": hashlib.sha256(photo.read_bytes()).hexdigest(),
    }
    # Once more, since each request needs a nonce of its own.
    assert ask(server.url + "/", photo, key=server.manager.token(key)).returncode == 0


def test_wrong_secret_is_rejected_and_reported(server: Server, ask: Any, photo: Path):
    ended = ask(server.url, photo, key=f"ak_{'a' * 16}.{'A' * 43}")
    assert ended.returncode != 0
    assert "A valid key is needed" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
