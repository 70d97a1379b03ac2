"""The application of the studio: its routes, the stream of changes, assets, and the server that runs it."""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from assay.core.errors import AssayError, UsageError
from assay.core.locks import open_locked
from assay.studio.camera import CameraShots
from assay.studio.http import on_error, studio_of
from assay.studio.pages import assets
from assay.studio.project import ADDED_FOLDER, Project
from assay.studio.routes_photos import PHOTO_ROUTES
from assay.studio.routes_use import USE_ROUTES
from assay.studio.routes_work import WORK_ROUTES
from assay.studio.security import HOST, AccessControl, new_token, store_address, stored_address
from assay.studio.service import Studio

DEFAULT_PORT: Final = 8321
_LOCK_FILE: Final = "lock"
_HEARTBEAT_SECONDS: Final = 15.0
_SHUTDOWN_SECONDS: Final = 2


def create_app(studio: Studio) -> Starlette:
    """Return the application without the check of who may use it."""
    routes = [
        *WORK_ROUTES,
        *PHOTO_ROUTES,
        *USE_ROUTES,
        Route("/events", events),
        Route("/assets/{version}/{name}", asset),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers=dict.fromkeys((AssayError, OSError, Exception), on_error),
        lifespan=_lifespan,
    )
    app.state.studio = studio
    app.state.camera = CameraShots(studio.project.folder / ADDED_FOLDER)
    return app


async def events(request: Request) -> Response:
    """Stream the revisions of photos and jobs whenever one changes."""
    studio = studio_of(request)

    async def lines() -> AsyncIterator[str]:
        async for _ in studio.changes.stream(_HEARTBEAT_SECONDS):
            values = {"photos": studio.project.revision, "jobs": studio.jobs_revision}
            yield f"data: {json.dumps(values)}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


async def asset(request: Request) -> Response:
    """Return a style sheet, a script or an icon."""
    version, files = assets()
    found = files.get(request.path_params["name"])
    if found is None:
        return Response(status_code=404)
    current = request.path_params["version"] == version
    cache = "private, max-age=31536000, immutable" if current else "no-cache"
    return Response(found[0], media_type=found[1], headers={"cache-control": cache})


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    studio: Studio = app.state.studio
    studio.changes.bind(asyncio.get_running_loop())
    watching = asyncio.create_task(studio.watch_jobs())
    yield
    watching.cancel()
    studio.close()


def run_studio(folder: Path, port: int | None, on_ready: Callable[[str, Project], None]) -> None:
    """Serve the studio of a folder until Ctrl-C.

    Args:
        folder: of the project; it is created if it is missing.
        port: None: that of the last session, else a free one.
        on_ready: called with the address, which contains the token, and the project.

    Raises:
        AssayError: the folder cannot be read, another studio uses it, or the port is in use.
    """
    project = Project.open(folder)
    state = project.state_folder
    state.mkdir(exist_ok=True)
    lock = open_locked(state / _LOCK_FILE)
    if lock is None:
        raise UsageError(f"another studio is open for {folder}: use its page, or stop it first")
    last = stored_address(state)
    token = new_token() if last is None else last[0]
    with _listen(port, None if last is None else last[1]) as listening:
        bound = listening.getsockname()[1]
        store_address(state, token, bound)
        studio = Studio(project)
        app: ASGIApp = AccessControl(create_app(studio), token, bound)
        _serve(app, studio, listening, lambda: on_ready(f"http://{HOST}:{bound}/?token={token}", project))


def _listen(port: int | None, last: int | None) -> socket.socket:
    """Listen at the given port, at that of the last session, or at any free one."""
    wanted = [port] if port is not None else [*([last] if last else []), DEFAULT_PORT, 0]
    for number in wanted:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, number))
        except OSError as error:
            listening.close()
            if number == wanted[-1]:
                raise AssayError(f"cannot listen at port {number} ({error.strerror}): give another --port") from None
            continue
        listening.listen()
        return listening
    raise AssertionError  # the last port either works or raises


def _serve(app: ASGIApp, studio: Studio, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_ready()

        def handle_exit(self, sig: int, frame: object) -> None:
            # The streams of open pages would otherwise delay the end.
            studio.changes.close()
            super().handle_exit(sig, frame)  # type: ignore[arg-type]

    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run([listening])
    signal.signal(signal.SIGINT, signal.default_int_handler)
