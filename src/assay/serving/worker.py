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
from assay.core.printable_text import printable
from assay.serving.app import create_app
from assay.serving.components import make_components
from assay.serving.compute_pool import ComputePool, exit_despite_threads
from assay.serving.engine_tuner import EngineTuner, can_tune
from assay.serving.model_registry import ModelRegistry
from assay.serving.server import Server
from assay.serving.service import Service
from assay.serving.settings import ModelSource, ServeSettings
from assay.serving.sockets import server_url
from assay.serving.supervisor import READY, RELOADED, WorkerConfig
from assay.serving.telemetry.telemetry import make_telemetry


def startup_messages(settings: ServeSettings, models: ModelRegistry, listening: socket.socket) -> list[str]:
    """Return the lines to print when a server is ready: models, their engine settings, where requests are recorded."""
    address = server_url(listening, tls=settings.tls.on)
    lines = [
        f"{address} answers with {model.name} {model.info.version} ({model.classifier.runtime})" for model in models
    ]
    later = "; measured while the server is idle" if can_tune(settings.models) else ""
    for model in models:
        reason = f"by rule{later}" if model.classifier.setup_source == "rule" else "measured for this server"
        lines.append(f"engine settings of {model.name}: {model.setup} ({reason})")
    return [*lines, settings.request_log.description]


def run_server(
    settings: ServeSettings,
    sources: Sequence[ModelSource],
    listening: socket.socket,
    on_ready: Callable[[ModelRegistry], None],
    *,
    on_reload: Callable[[], None] = lambda: None,
    parent_pipe: int | None = None,
) -> None:
    """Load models and serve until a signal.

    If an image is still being decoded then, the process exits without returning to the caller. `on_reload` is called
    when a client has reloaded the models, for the other workers. `parent_pipe` is a file descriptor that reads
    end-of-file when the parent process has ended.

    Raises:
        AssayError: a model or a component cannot be used.
    """
    pool = ComputePool(max(1, cpu_count() // settings.listen.workers))
    with closing(make_telemetry(settings.telemetry, {})) as telemetry:
        models = ModelRegistry(
            sources,
            settings=settings.models,
            pool=pool,
            batching=settings.batching,
            uploads=settings.uploads,
            telemetry=telemetry,
        )

        async def run() -> None:
            service = Service(settings, models, make_components(settings, telemetry))
            service.on_reload = on_reload
            await service.components.start()
            tuner = EngineTuner(models, lambda: service.admission.in_progress)
            service.admission.on_request = tuner.on_request
            tuning = asyncio.create_task(tuner.run()) if can_tune(settings.models) else None
            server = Server(create_app(service), service, lambda: on_ready(models), parent_pipe)
            _freeze_garbage_collection()
            try:
                await server.serve(listening)
            finally:
                if tuning is not None:
                    tuning.cancel()
                    await asyncio.wait([tuning])
                await service.close()

        with asyncio.Runner(loop_factory=Config("", log_config=None).get_loop_factory()) as runner:
            runner.run(run())
    exit_despite_threads()


def _freeze_garbage_collection() -> None:
    """Exclude existing objects from garbage collection, which would occasionally delay requests by about 50 ms."""
    gc.collect()
    gc.freeze()
    gc.collect()  # updates the thresholds to the few objects that are left


def main() -> None:
    """Serve until a signal."""
    config = WorkerConfig.from_line(sys.stdin.readline())
    messages = os.fdopen(config.messages, "w", buffering=1, encoding="utf-8")
    listening = socket.socket(fileno=config.socket)

    settings = ServeSettings.read(config.options)

    def on_ready(models: ModelRegistry) -> None:
        _send_message(messages, READY + json.dumps(startup_messages(settings, models, listening)))

    try:
        sources = [ModelSource.parse(model) for model in config.models]
        run_server(
            settings,
            sources,
            listening,
            on_ready,
            on_reload=lambda: _send_message(messages, RELOADED),
            parent_pipe=sys.stdin.fileno(),
        )
    except AssayError as error:
        sys.stderr.write(f"assay: {printable(str(error))}\n")
        sys.exit(error.exit_code)


def _send_message(messages: TextIO, line: str) -> None:
    # If the parent was killed, accepted requests are still answered.
    with contextlib.suppress(OSError):
        messages.write(line + "\n")


if __name__ == "__main__":
    main()
