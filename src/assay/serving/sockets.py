"""Listening sockets and TLS 1.3.

The certificate is read once; renewing it requires a restart, or a proxy in front.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from assay.core.errors import AssayError, UsageError
from assay.core.files import require_regular_file
from assay.serving.settings import ListenSettings, TlsSettings

BACKLOG = 2048


def open_listening_socket(settings: ListenSettings) -> socket.socket:
    """Listen at the address and port of the settings.

    Raises:
        UsageError: this machine has no such address.
        AssayError: the port is in use.
    """
    host, port = settings.host, settings.port
    try:
        family, socket_type, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise UsageError(f"there is no address {host}: give --host 127.0.0.1, or one of this machine") from None
    listening = socket.socket(family, socket_type, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise AssayError(f"cannot listen at {host}:{port} ({error.strerror}): give another --port") from None
    return listening


def server_url(listening: socket.socket, *, tls: bool) -> str:
    """Return the URL of a server for a browser."""
    host, port = listening.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def accept_waiting(listening: socket.socket) -> list[socket.socket]:
    """Accept the connections that wait at a socket, and close it; closing alone would reset them."""
    accepted: list[socket.socket] = []
    with listening, contextlib.suppress(BlockingIOError):
        listening.settimeout(0)
        while True:
            accepted.append(listening.accept()[0])
    return accepted


class TlsContextFactory:
    """Creates uvicorn's TLS context; unlike the context itself, it can be pickled."""

    def __init__(self, cert: Path, key: Path) -> None:
        """The files are read when called."""
        self._cert, self._key = cert, key

    def __call__(self, config: object = None, default: object = None) -> ssl.SSLContext:
        """Return a server's context; the arguments, passed by uvicorn, are not used.

        Raises:
            UsageError: a file cannot be read, is a pipe or a device, or the two do not match.
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
            reason = "do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else "are not PEM files"
            raise UsageError(f"{self._cert} and {self._key} {reason}; give a certificate and its key") from None
        except OSError as error:
            raise UsageError(f"{self._cert} or {self._key} cannot be read: {error.strerror}") from None
        return context


def tls_context_factory(settings: TlsSettings) -> Callable[..., ssl.SSLContext] | None:
    """Return a factory of uvicorn's TLS context, None without TLS.

    Raises:
        UsageError: certificate and key are unusable; they are read here once, before a socket is opened.
    """
    if settings.cert is None or settings.key is None:
        return None
    factory = TlsContextFactory(settings.cert, settings.key)
    factory()
    return factory


def _no_password() -> str:
    # Without this, OpenSSL would prompt on the terminal, and a service would hang.
    raise UsageError("the private key is encrypted; give one that is not (openssl pkey -in KEY -out PLAIN)")
