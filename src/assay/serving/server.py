"""One process that answers at a socket: signals, draining and the end of uvicorn.

Knows the HTTP server; nothing of what is answered.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvicorn

from assay.errors import AssayError
from assay.serving.security_headers import App
from assay.serving.service import Service
from assay.serving.settings import ServeSettings
from assay.serving.tls import uvicorn_tls

_LOG = logging.getLogger("assay.serving")
_BACKLOG = 2048


def server_config(app: App, settings: ServeSettings) -> uvicorn.Config:
    """Return how uvicorn shall run an application."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=round(settings.listen.keep_alive),
        timeout_graceful_shutdown=round(settings.lifecycle.grace_seconds),
        backlog=_BACKLOG,
        ssl_context_factory=uvicorn_tls(settings.tls).get("ssl_context_factory"),
    )


class Server(uvicorn.Server):
    """uvicorn with other signals and a gentler end.

    SIGTERM: not ready, wait, then end when all is answered. Ctrl-C: the same without waiting. SIGHUP: the
    models are read anew.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals in the event loop while the server runs."""
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: lambda: self._start(self._drain()),
            signal.SIGHUP: lambda: self._start(self._reload()),
            signal.SIGINT: self._stop,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take requests from now on."""
        await super().startup(sockets)
        self._service.lifecycle.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take those who have connected already, then stop listening and answer what was accepted."""
        # A turn of the loop for connections that wait in the backlog: closing the socket would reset them.
        await asyncio.sleep(0)
        await super().shutdown(sockets)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop(self) -> None:
        self._service.lifecycle.drain()
        self.force_exit = self.should_exit
        self.should_exit = True

    async def _drain(self) -> None:
        self._service.lifecycle.drain()
        await asyncio.sleep(self._service.settings.lifecycle.drain_seconds)
        self.should_exit = True

    async def _reload(self) -> None:
        try:
            versions = await self._service.models.reload()
        except AssayError as error:
            _LOG.error("the models stay as they were: %s", error)
        else:
            _LOG.info("models read anew: %s", versions)
