"""A server below a path prefix behind a proxy: API, signed requests and pages."""

import hashlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from services import find_program

from assay.core.errors import UsageError
from assay.serving.auth.authenticator import SIGNATURE_HEADERS, canonical_message, sign
from assay.serving.auth.keys import KeyManager
from assay.serving.settings import ServeSettings

_CONFIG = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend all
    bind 127.0.0.1:{port}
    {rule}
    default_backend assay
backend assay
    server one 127.0.0.1:{server}
"""
_STRIP = "http-request replace-path ^/photos/bottles/?(.*) /\\1"
_PREFIX = "/photos/bottles"


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Start HAProxy before a server; it takes the prefix away, or does not."""
    haproxy = find_program("haproxy")
    running: list[subprocess.Popen[bytes]] = []

    def start(server: int, *, strip: bool) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        path = tmp_path_factory.mktemp("haproxy") / "haproxy.cfg"
        path.write_text(_CONFIG.format(port=port, server=server, rule=_STRIP if strip else ""), encoding="ascii")
        running.append(subprocess.Popen([haproxy, "-f", path], stderr=subprocess.DEVNULL))
        return _up(f"http://127.0.0.1:{port}{_PREFIX}")

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


def _up(url: str) -> str:
    """Wait until the proxy answers."""
    end = time.monotonic() + 20
    while True:
        try:
            if httpx.get(f"{url}/live", trust_env=False, timeout=5).status_code == 200:
                return url
        except httpx.TransportError:
            pass
        assert time.monotonic() < end, "the proxy did not start"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def plain(serve, make_bundle: Callable[..., Path]) -> Any:
    return serve(make_bundle(), lifecycle__drain_delay=0)


@pytest.fixture(scope="module")
def rooted(serve, make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    kept = tmp_path_factory.mktemp("kept")
    return serve(make_bundle(), "--root-path", _PREFIX, "--keep-uncertain", kept, lifecycle__drain_delay=0)


def test_all_routes_work_below_a_prefix(rooted: Any, behind_proxy: Callable[..., str], painted):
    for url in (
        behind_proxy(rooted.port, strip=True),
        behind_proxy(rooted.port, strip=False),
        f"{rooted.url}{_PREFIX}",
        rooted.url,
    ):
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            for path in (
                "/health",
                "/live",
                "/ready",
                "/models",
                "/",
                "/relabel",
                "/web/0/main.js",
                "/v2",
            ):
                assert client.get(path).status_code == 200, (url, path)
            for path in ("/classify", "/classify?detail=1", "/classify/batch"):
                answer = client.post(path, files={"image": painted(number=5)})
                assert answer.status_code == 200, (url, path)
            assert client.get("/openapi.json").json()["servers"] == [{"url": _PREFIX}]
    with rooted.client() as client:
        assert client.get("/photos/bottlesmore/health").status_code == 404


@pytest.mark.parametrize("strip", [True, False])
def test_signatures_use_the_path_of_the_client(
    serve, make_bundle, behind_proxy: Callable[..., str], painted, tmp_path: Path, *, strip: bool
):
    manager = KeyManager(tmp_path / "keys")
    token = manager.token(manager.create("a client", "gold", ("classify",)))
    server = serve(make_bundle(), "--keys", tmp_path / "keys", "--root-path", _PREFIX, lifecycle__drain_delay=0)
    url = behind_proxy(server.port, strip=strip)
    photo, (key, _, secret) = painted(), token.partition(".")
    seconds, nonce, digest = str(int(time.time())), "n" * 20, hashlib.sha256(photo).hexdigest()
    signature = sign(secret, canonical_message("POST", f"{_PREFIX}/classify", seconds, nonce, digest))
    headers = dict(zip(SIGNATURE_HEADERS, (key, seconds, nonce, digest, signature), strict=True))
    answer = httpx.post(f"{url}/classify", headers=headers, files={"image": photo}, trust_env=False, timeout=30)
    assert answer.status_code == 200


@pytest.mark.parametrize("strip", [True, False])
def test_pages_with_a_root_path(browser: Any, rooted: Any, behind_proxy: Callable[..., str], painted, *, strip: bool):
    url, page = behind_proxy(rooted.port, strip=strip), browser.new_page()
    failed: list[str] = []
    page.on(
        "response",
        lambda response: failed.append(f"{response.status} {response.url}") if response.status >= 400 else None,
    )
    page.on("pageerror", lambda item: failed.append(str(item)))
    page.on("console", lambda message: failed.append(message.text))
    photo = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": painted()}
    for slash in ("", "/"):
        page.goto(f"{url}{slash}")
        page.get_by_text("Ready: 3 classes").wait_for()
        page.set_input_files("#photo-file", photo)
        page.locator("#photo-answer .answer", has_text="red").wait_for()
        page.get_by_role("tab", name="About").click()
        page.get_by_role("heading", name="Intended use").wait_for()
    page.get_by_role("link", name="Label photos").click()
    page.wait_for_url("**/photos/bottles/relabel")
    page.locator("#state", has_text="0 uncertain").wait_for()
    page.get_by_role("link", name="Classify photos").click()
    page.wait_for_url("**/photos/bottles/")
    page.get_by_text("Ready: 3 classes").wait_for()
    page.close()
    assert failed == []


def test_pages_work_without_settings_if_the_proxy_strips_the_prefix(
    browser: Any, plain: Any, behind_proxy: Callable[..., str], painted
):
    page = browser.new_page()
    page.goto(f"{behind_proxy(plain.port, strip=True)}/")
    page.get_by_text("Ready: 3 classes").wait_for()
    page.set_input_files("#photo-file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": painted()})
    page.locator("#photo-answer .answer", has_text="red").wait_for()
    page.close()


@pytest.mark.parametrize("path", ["assay", "/assay/", "//assay", "/a?b", "/a b", '/"><script>'])
def test_invalid_root_path_raises(path: str):
    with pytest.raises(UsageError, match=r"root-path .* cannot be used"):
        ServeSettings.read({"listen": {"root_path": path}})
