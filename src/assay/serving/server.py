"""Run uvicorn in one process: signals, draining, reload and graceful shutdown."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from assay.core.errors import AssayError
from assay.serving.auth.client_ip import parse_networks
from assay.serving.connection_limits import ConnectionLimiter, RequestScheduler, raise_file_limit
from assay.serving.http_protocol import LimitedHttpProtocol
from assay.serving.service import Service
from assay.serving.settings import ServeSettings
from assay.serving.sockets import tls_context_factory

_LOG = logging.getLogger("assay.serving")
_BACKLOG = 2048
_LAST_REQUEST_DELAY = 0.1
_SWEEP_INTERVAL = 1.0
_STARTS_PER_ITERATION = 8
"""Requests that start in one turn of the event loop."""
_PIPELINED_PER_ITERATION = 2
"""Of these, requests that were sent before the answer to the one before."""
_ACCEPTS_PER_ITERATION = 8
"""Connections that are accepted in one turn of the event loop: libuv takes one from each handle."""


def uvicorn_config(app: ASGIApp, settings: ServeSettings) -> uvicorn.Config:
    """Return how uvicorn shall run an application."""
    listen = settings.listen
    connections = ConnectionLimiter(
        raise_file_limit(listen.max_connections),
        listen.max_connections_per_address,
        parse_networks(settings.auth.proxies),
        listen.write_timeout,
    )
    own = {
        "header_timeout": listen.header_timeout,
        "open_connections": connections,
        "turns": RequestScheduler(_STARTS_PER_ITERATION, _PIPELINED_PER_ITERATION),
    }
    protocol = type("Protocol", (LimitedHttpProtocol,), own)
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        http=protocol,
        timeout_keep_alive=round(settings.listen.keep_alive),
        timeout_graceful_shutdown=round(settings.lifecycle.shutdown_timeout),
        backlog=_BACKLOG,
        ssl_context_factory=tls_context_factory(settings.tls).get("ssl_context_factory"),
    )


class Server(uvicorn.Server):
    """uvicorn with other signals and a gentler end.

    SIGTERM: not ready, wait, then end when all is answered. Ctrl-C: the same without waiting. SIGHUP: the
    models are read anew.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        started: Callable[[], None],
        orphaned: int | None = None,
    ) -> None:
        """Take what to run.

        Args:
            config: how to run it.
            service: what answers.
            started: told when requests are taken.
            orphaned: a file descriptor that ends when the process that started this one is no more.
        """
        super().__init__(config)
        self._service, self._started, self._orphaned = service, started, orphaned
        self._tasks: set[asyncio.Task[None]] = set()
        protocol = config.http
        if not (isinstance(protocol, type) and issubclass(protocol, LimitedHttpProtocol)):
            raise TypeError("the server needs the config of server_config")
        self._connections = protocol.open_connections

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
        if self._orphaned is not None:
            loop.add_reader(self._orphaned, self._lonely)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
            if self._orphaned is not None:
                loop.remove_reader(self._orphaned)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take requests from now on."""
        further = [each.dup() for each in sockets or () for _ in range(_ACCEPTS_PER_ITERATION - 1)]
        await super().startup(None if sockets is None else [*sockets, *further])
        self._start(self._drop_stalled())
        self._service.lifecycle.start()
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take those who have connected already, then stop listening and answer what was accepted."""
        waiting = [listening.dup() for listening in sockets or ()]
        for server in self.servers:
            server.close()
        for listening in waiting:
            await self._take_all(listening)
        # uvicorn closes connections without a request: those that have just come get a moment to send theirs.
        await asyncio.sleep(_LAST_REQUEST_DELAY)
        await super().shutdown(sockets)
        self._connections.drop_all()

    async def _take_all(self, listening: socket.socket) -> None:
        """Take connections that wait at the socket, and close it: they would be reset."""
        loop = asyncio.get_running_loop()
        accepted = []
        with listening, contextlib.suppress(BlockingIOError):
            listening.settimeout(0)
            while True:
                accepted.append(listening.accept()[0])
        for connection in accepted:
            await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)

    async def _drop_stalled(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_INTERVAL)
            if dropped := self._connections.drop_stalled(loop.time()):
                _LOG.warning("connections closed whose clients read nothing: %d", dropped)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state={}
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop(self) -> None:
        self._service.lifecycle.drain()
        self.force_exit = self.should_exit
        self.should_exit = True

    def _lonely(self) -> None:
        """End too when the parent has."""
        if self._orphaned is not None and not os.read(self._orphaned, 1):
            asyncio.get_running_loop().remove_reader(self._orphaned)
            self._orphaned = None
            self._start(self._drain())

    async def _drain(self) -> None:
        self._service.lifecycle.drain()
        await asyncio.sleep(self._service.settings.lifecycle.drain_delay)
        self.should_exit = True

    async def _reload(self) -> None:
        try:
            versions = await self._service.models.reload()
        except AssayError as error:
            _LOG.error("the models stay as they were: %s", error)
        else:
            _LOG.info("models read anew: %s", versions)
