"""Listening sockets: open one, its URL, and the connections that wait at it."""

import contextlib
import errno
import socket

from assay.core.errors import AssayError, UsageError
from assay.serving.settings import ListenSettings

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
        option = "--host" if error.errno == errno.EADDRNOTAVAIL else "--port"
        raise AssayError(f"cannot listen at {host}:{port} ({error.strerror}): give another {option}") from None
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
