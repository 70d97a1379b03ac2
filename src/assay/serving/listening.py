"""The socket that requests come in at.

Knows nothing of HTTP, and is light: the parent of several workers imports it too.
"""

import socket
from typing import TYPE_CHECKING

from assay.errors import AssayError, UsageError

if TYPE_CHECKING:
    from assay.serving.settings import ListenSettings

BACKLOG = 2048


def listen(settings: "ListenSettings") -> socket.socket:
    """Take the address.

    Raises:
        UsageError: there is no such address here.
        AssayError: the port is in use.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise UsageError(
            f"there is no address {host}: give --host 127.0.0.1, or one of this machine"
        ) from None
    taken = socket.socket(family, kind, protocol)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(address)
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        raise AssayError(f"cannot listen at {host}:{port} ({error.strerror}): give another --port") from None
    return taken


def address_of(listening: socket.socket, *, tls: bool) -> str:
    """Return the address that a browser would be given."""
    host, port = listening.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
