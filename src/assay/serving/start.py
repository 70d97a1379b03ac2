"""From settings and bundles to a process that answers.

How several such processes are kept running is `assay.serving.workers`' business.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence

from uvicorn import Config

from assay.errors import AssayError, UsageError
from assay.inference import cpu_count
from assay.serving.app import make_app
from assay.serving.models import Models, Source
from assay.serving.parts import make_parts
from assay.serving.server import Server, server_config
from assay.serving.service import Service
from assay.serving.settings import ListenSettings, ServeSettings
from assay.serving.watching.watching import make_watcher

BACKLOG = 2048


def listen(settings: ListenSettings) -> socket.socket:
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


def serve_here(
    settings: ServeSettings,
    sources: Sequence[Source],
    listening: socket.socket,
    started: Callable[[Models], None],
    reloaded: Callable[[], None] = lambda: None,
) -> None:
    """Load models and answer requests until the process is told to end.

    Args:
        settings: of the server.
        sources: of the models.
        listening: where requests come in.
        started: told when the server is ready.
        reloaded: told when a client has had the models read anew, for the other workers.

    Raises:
        AssayError: a model or a part cannot be used.
    """
    threads = max(1, cpu_count() // settings.listen.workers)
    watching = make_watcher(settings.watch, {})
    models = Models(
        sources,
        settings=settings.models,
        threads=settings.models.threads or threads,
        batching=settings.batching,
        uploads=settings.uploads,
        watcher=watching,
    )

    async def run() -> None:
        service = Service(settings, models, make_parts(settings, watching), threads=threads)
        service.reloaded = reloaded
        config = server_config(make_app(service), settings)
        started(models)
        try:
            await Server(config, service).serve([listening])
        finally:
            await service.close()

    with asyncio.Runner(loop_factory=Config("", log_config=None).get_loop_factory()) as runner:
        runner.run(run())
