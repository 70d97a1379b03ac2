"""Run a server of the standard library in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer
from typing import TypeVar

_ServerT = TypeVar("_ServerT", bound=BaseServer)


@contextmanager
def running(server: _ServerT) -> Iterator[_ServerT]:
    """Serve requests until the block ends."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
