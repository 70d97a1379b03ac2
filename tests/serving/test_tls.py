"""TLS 1.3 over a real socket; older versions are rejected."""

import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from uvicorn import Config

from assay.core.errors import UsageError
from assay.serving.settings import TlsSettings
from assay.serving.tls import TlsContextFactory, tls_context_factory


def _certificate(folder: Path, stem: str) -> tuple[Path, Path]:
    cert, key = folder / f"{stem}.pem", folder / f"{stem}.key"
    kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    name = "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    command = ["openssl", *kind.split(), *name.split(), "-out", str(cert), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    return _certificate(tmp_path_factory.mktemp("tls"), "server")


def _handshake(pair: tuple[Path, Path], version: ssl.TLSVersion) -> str | None:
    """Return the version that a client and the server agree on."""
    context = TlsContextFactory(*pair)()
    asking = ssl.create_default_context(cafile=pair[0])
    asking.minimum_version = asking.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            taken = listening.accept()[0]
            try:
                with context.wrap_socket(taken, server_side=True) as secure:
                    secure.sendall(b"!")
            except ssl.SSLError:
                taken.close()

        server = threading.Thread(target=serve)
        server.start()
        try:
            with (
                socket.create_connection(listening.getsockname()) as plain,
                asking.wrap_socket(plain, server_hostname="localhost") as secure,
            ):
                assert secure.recv(1) == b"!"
                return secure.version()
        finally:
            server.join()


def test_tls_1_3_is_accepted(pair: tuple[Path, Path]):
    assert _handshake(pair, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"


def test_tls_1_2_is_rejected(pair: tuple[Path, Path]):
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        _handshake(pair, ssl.TLSVersion.TLSv1_2)


def test_uvicorn_uses_the_tls_context(pair: tuple[Path, Path]):
    config = Config(_no_app, ssl_context_factory=tls_context_factory(TlsSettings(cert=pair[0], key=pair[1])))
    config.load()
    assert config.is_ssl
    assert config.ssl is not None
    assert config.ssl.minimum_version == ssl.TLSVersion.TLSv1_3


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive, send


def test_without_a_certificate_there_is_no_tls():
    assert not TlsSettings().on
    assert tls_context_factory(TlsSettings()) is None


def test_certificate_and_key_are_required_together(pair: tuple[Path, Path]):
    with pytest.raises(ValidationError, match="--tls-cert and --tls-key"):
        TlsSettings(cert=pair[0])


def test_mismatched_certificate_and_key_raise(pair: tuple[Path, Path], tmp_path: Path):
    other = _certificate(tmp_path, "other")
    text, absent = tmp_path / "text", tmp_path / "absent"
    text.write_text("no certificate", encoding="utf-8")
    for cert, key, message in (
        (pair[0], other[1], "do not belong together"),
        (text, pair[1], "are not PEM files"),
        (pair[0], text, "are not PEM files"),
        (absent, pair[1], "cannot be read"),
    ):
        with pytest.raises(UsageError, match=message):
            tls_context_factory(TlsSettings(cert=cert, key=key))


def test_encrypted_key_raises_without_a_prompt(pair: tuple[Path, Path], tmp_path: Path):
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", pair[1], "-aes256", "-passout", "pass:word", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(UsageError, match="the private key is encrypted"):
        tls_context_factory(TlsSettings(cert=pair[0], key=locked))
