"""Listening sockets and TLS 1.3.

The certificate is read once: renewing it takes a restart, or a proxy in front.
"""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from assay.core.errors import AssayError, UsageError
from assay.core.files import require_regular_file
from assay.recipe.base import Settings

if TYPE_CHECKING:
    from assay.serving.settings import ListenSettings

BACKLOG = 2048


def open_listening_socket(settings: "ListenSettings") -> socket.socket:
    """Take the address.

    Raises:
        UsageError: there is no such address here.
        AssayError: the port is in use.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise UsageError(f"there is no address {host}: give --host 127.0.0.1, or one of this machine") from None
    taken = socket.socket(family, kind, protocol)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(address)
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        raise AssayError(f"cannot listen at {host}:{port} ({error.strerror}): give another --port") from None
    return taken


def server_url(listening: socket.socket, *, tls: bool) -> str:
    """Return the address that a browser would be given."""
    host, port = listening.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


class TlsSettings(Settings):
    """Certificate and key of the server."""

    cert: Path | None = None
    """PEM file with the certificate, followed by those that lead to its root; none: plain HTTP."""
    key: Path | None = None
    """PEM file with the private key, not encrypted."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("give --tls-cert and --tls-key, or neither")
        return self

    @property
    def on(self) -> bool:
        """Whether the server speaks TLS."""
        return self.cert is not None


class TlsContextFactory:
    """What uvicorn makes its context with; can be sent to another process, unlike the context itself."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Take certificate and key; they are read when called."""
        self._cert, self._key = cert, key

    def __call__(self, config: object = None, default: object = None) -> ssl.SSLContext:
        """Return a server's context; uvicorn's own settings and context, its arguments, are not used.

        Raises:
            UsageError: a file cannot be read, is a pipe or a device, or the two do not belong together.
        """
        del config, default
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        for path in (self._cert, self._key):
            require_regular_file(path)
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        except ssl.SSLError as error:
            # OpenSSL names neither of the two files.
            why = "do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else "are no PEM files"
            raise UsageError(f"{self._cert} and {self._key} {why}; give a certificate and its key") from None
        except OSError as error:
            raise UsageError(f"{self._cert} or {self._key} cannot be read: {error.strerror}") from None
        return context


def tls_context_factory(settings: TlsSettings) -> dict[str, Callable[..., ssl.SSLContext]]:
    """Return the arguments for `uvicorn.Config`; none without TLS.

    Raises:
        UsageError: certificate and key are no pair; found here, before a socket is opened.
    """
    if settings.cert is None or settings.key is None:
        return {}
    context = TlsContextFactory(settings.cert, settings.key)
    context()
    return {"ssl_context_factory": context}


def _no_password() -> str:
    # Without this OpenSSL would ask for it on the terminal, and a service would hang.
    raise UsageError("the private key is encrypted; give one that is not (openssl pkey -in KEY -out PLAIN)")
