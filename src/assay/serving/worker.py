"""Run one serving process: load models, create the application and serve until a signal.

`python -m assay.serving.worker` is a worker started by `assay.serving.supervisor`: it reads its
configuration from standard input, reports on standard output, and ends when its parent does.
"""

import asyncio
import contextlib
import gc
import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TextIO

from uvicorn import Config

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError
from assay.core.text import printable
from assay.serving.app import create_app
from assay.serving.batching import exit_despite_threads
from assay.serving.components import make_components
from assay.serving.decoding import DECODE_THREAD_PREFIX
from assay.serving.models import ModelRegistry
from assay.serving.server import Server, uvicorn_config
from assay.serving.service import Service
from assay.serving.settings import ModelSource, ServeSettings
from assay.serving.sockets import server_url
from assay.serving.supervisor import READY, RELOADED, WorkerConfig
from assay.serving.telemetry.telemetry import make_telemetry


def startup_messages(settings: ServeSettings, models: ModelRegistry, listening: socket.socket) -> list[str]:
    """Return what to say when a server is ready: a line for each model, and where requests are recorded."""
    address = server_url(listening, tls=settings.tls.on)
    answering = [
        f"{address} answers with {model.name} {model.info.version} ({model.classifier.runtime})" for model in models
    ]
    return [*answering, settings.request_log.description]


def run_server(
    settings: ServeSettings,
    sources: Sequence[ModelSource],
    listening: socket.socket,
    started: Callable[[ModelRegistry], None],
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
    with closing(make_telemetry(settings.telemetry, {})) as telemetry:
        models = ModelRegistry(
            sources,
            settings=settings.models,
            threads=settings.models.threads or threads,
            batching=settings.batching,
            uploads=settings.uploads,
            telemetry=telemetry,
        )

        async def run() -> None:
            service = Service(settings, models, make_components(settings, telemetry), threads=threads)
            service.reloaded = reloaded
            await service.parts.start()
            config = uvicorn_config(create_app(service), settings)
            _freeze_garbage_collection()
            try:
                await Server(config, service, lambda: started(models), orphaned).serve([listening])
            finally:
                await service.close()

        with asyncio.Runner(loop_factory=Config("", log_config=None).get_loop_factory()) as runner:
            runner.run(run())
    exit_despite_threads(DECODE_THREAD_PREFIX)


def _freeze_garbage_collection() -> None:
    """Have Python's search for cycles pass over what is there by now, which it does not find quickly.

    With all that the libraries keep, it holds up every request for some 50 ms now and then.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # Python now knows how little is left, and looks at it as often as that needs


def main() -> None:
    """Serve until told to end."""
    order = WorkerConfig.load(sys.stdin.readline())
    # What anything else prints must not reach the parent as a message.
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    listening = socket.socket(fileno=order.socket)

    settings = ServeSettings.read(order.options)

    def started(models: ModelRegistry) -> None:
        _send_message(messages, READY + json.dumps(startup_messages(settings, models, listening)))

    try:
        sources = [ModelSource.parse(model) for model in order.models]
        run_server(
            settings,
            sources,
            listening,
            started,
            reloaded=lambda: _send_message(messages, RELOADED),
            orphaned=sys.stdin.fileno(),
        )
    except AssayError as error:
        sys.stderr.write(f"assay: {printable(str(error))}\n")
        sys.exit(error.exit_code)


def _send_message(messages: TextIO, line: str) -> None:
    # A parent that was killed hears nothing; what has been accepted is answered all the same.
    with contextlib.suppress(OSError):
        messages.write(line + "\n")


if __name__ == "__main__":
    main()
