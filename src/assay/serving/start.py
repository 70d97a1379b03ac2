"""From settings and bundles to a process that answers.

How several such processes are kept running is `assay.serving.workers`' business.
"""

import asyncio
import gc
import socket
from collections.abc import Callable, Sequence
from contextlib import closing

from uvicorn import Config

from assay.inference import cpu_count
from assay.serving.app import make_app
from assay.serving.decoding import DECODE_THREADS
from assay.serving.listening import address_of
from assay.serving.models import Models
from assay.serving.parts import make_parts
from assay.serving.server import Server, server_config
from assay.serving.service import Service
from assay.serving.settings import ServeSettings
from assay.serving.sources import Source
from assay.serving.threads import exit_past
from assay.serving.watching.watching import make_watcher


def ready_lines(settings: ServeSettings, models: Models, listening: socket.socket) -> list[str]:
    """Return what to say when a server is ready: a line for each model, and where requests are recorded."""
    address = address_of(listening, tls=settings.tls.on)
    answering = [
        f"{address} answers with {model.name} {model.info.version} ({model.classifier.runs})"
        for model in models
    ]
    return [*answering, settings.keep.told]


def serve_here(
    settings: ServeSettings,
    sources: Sequence[Source],
    listening: socket.socket,
    started: Callable[[Models], None],
    *,
    reloaded: Callable[[], None] = lambda: None,
    orphaned: int | None = None,
) -> None:
    """Load models and answer requests until the process is told to end.

    A photo that is still decoded then ends with the process, which does not return to the caller.

    Args:
        settings: of the server.
        sources: of the models.
        listening: where requests come in.
        started: told when the server is ready.
        reloaded: told when a client has had the models read anew, for the other workers.
        orphaned: a file descriptor that ends when the process that started this one is no more.

    Raises:
        AssayError: a model or a part cannot be used.
    """
    threads = max(1, cpu_count() // settings.listen.workers)
    with closing(make_watcher(settings.watch, {})) as watching:
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
            await service.parts.start()
            config = server_config(make_app(service), settings)
            _let_stay()
            try:
                await Server(config, service, lambda: started(models), orphaned).serve([listening])
            finally:
                await service.close()

        with asyncio.Runner(loop_factory=Config("", log_config=None).get_loop_factory()) as runner:
            runner.run(run())
    exit_past(DECODE_THREADS)


def _let_stay() -> None:
    """Have Python's search for cycles pass over what is there by now, which it does not find quickly.

    With all that the libraries keep, it holds up every request for some 50 ms now and then.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # Python now knows how little is left, and looks at it as often as that needs
