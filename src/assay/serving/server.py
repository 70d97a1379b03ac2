"""Run the server in one process: signals, draining, reload and graceful shutdown."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from assay.core.errors import AssayError
from assay.serving.auth.client_ip import parse_networks
from assay.serving.connection_limits import ConnectionLimiter, RequestScheduler, raise_file_limit
from assay.serving.service import Service
from assay.serving.sockets import BACKLOG
from assay.serving.tls import tls_context_factory
from assay.serving.uvicorn_overrides import GracefulServer, LimitedHttpProtocol

_LOG = logging.getLogger("assay.serving")
_SWEEP_INTERVAL = 1.0
_STARTS_PER_ITERATION = 8
"""Requests that start in one iteration of the event loop."""
_PIPELINED_PER_ITERATION = 2
"""Of these, requests that were sent before the response to the previous one."""


class Server:
    """An application at a listening socket.

    SIGTERM: `/ready` fails, wait, then end when all responses are sent. Ctrl-C: the same without waiting.
    SIGHUP: reload the models.

    Args:
        on_ready: called when requests are accepted.
        parent_pipe: a file descriptor that reads end-of-file when the parent process has ended.
    """

    def __init__(
        self, app: ASGIApp, service: Service, on_ready: Callable[[], None], parent_pipe: int | None = None
    ) -> None:
        self._service, self._on_ready, self._parent_pipe = service, on_ready, parent_pipe
        self._tasks: set[asyncio.Task[None]] = set()
        settings = service.settings
        listen = settings.listen
        self._connections = ConnectionLimiter(
            raise_file_limit(listen.max_connections),
            listen.max_connections_per_address,
            parse_networks(settings.auth.proxies),
            listen.write_timeout,
        )
        attributes = {
            "header_timeout": listen.header_timeout,
            "open_connections": self._connections,
            "scheduler": RequestScheduler(_STARTS_PER_ITERATION, _PIPELINED_PER_ITERATION),
        }
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            http=type("Protocol", (LimitedHttpProtocol,), attributes),
            timeout_keep_alive=round(listen.keep_alive),
            timeout_graceful_shutdown=round(settings.lifecycle.shutdown_timeout),
            backlog=BACKLOG,
            ssl_context_factory=tls_context_factory(settings.tls),
        )
        signal_handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: lambda: self._create_task(self._drain()),
            signal.SIGHUP: lambda: self._create_task(self._reload()),
            signal.SIGINT: self._stop,
        }
        self._uvicorn = GracefulServer(config, signal_handlers, self._on_startup)

    async def serve(self, listening: socket.socket) -> None:
        """Serve until a signal, then close all connections."""
        loop = asyncio.get_running_loop()
        if self._parent_pipe is not None:
            loop.add_reader(self._parent_pipe, self._on_parent_readable)
        try:
            await self._uvicorn.serve([listening])
        finally:
            self._connections.drop_all()
            if self._parent_pipe is not None:
                loop.remove_reader(self._parent_pipe)

    def _on_startup(self) -> None:
        self._create_task(self._drop_stalled())
        self._service.lifecycle.start()
        self._on_ready()

    async def _drop_stalled(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_INTERVAL)
            if dropped := self._connections.drop_stalled(loop.time()):
                _LOG.warning("closed connections whose clients read nothing: %d", dropped)

    def _create_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop(self) -> None:
        self._service.lifecycle.drain()
        self._uvicorn.force_exit = self._uvicorn.should_exit
        self._uvicorn.should_exit = True

    def _on_parent_readable(self) -> None:
        if self._parent_pipe is not None and not os.read(self._parent_pipe, 1):
            asyncio.get_running_loop().remove_reader(self._parent_pipe)
            self._parent_pipe = None
            self._create_task(self._drain())

    async def _drain(self) -> None:
        self._service.lifecycle.drain()
        await asyncio.sleep(self._service.settings.lifecycle.drain_delay)
        self._uvicorn.should_exit = True

    async def _reload(self) -> None:
        try:
            versions = await self._service.models.reload()
        except AssayError as error:
            _LOG.error("the current models stay: %s", error)
        else:
            _LOG.info("models reloaded: %s", versions)
