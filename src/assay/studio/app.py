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
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from assay.core.errors import AssayError, UsageError
from assay.serving.request_log import state_dir
from assay.studio.folder_lock import FolderLock
from assay.studio.http import on_error, workspace_of
from assay.studio.pages import assets
from assay.studio.recent_projects import RecentProjects
from assay.studio.routes_photos import PHOTO_ROUTES
from assay.studio.routes_start import START_ROUTES
from assay.studio.routes_use import USE_ROUTES
from assay.studio.routes_work import WORK_ROUTES
from assay.studio.security import HOST, AccessControl, new_token, store_address, stored_address
from assay.studio.service import Studio
from assay.studio.workspace import Workspace

DEFAULT_PORT: Final = 8321
_HEARTBEAT_SECONDS: Final = 15.0
_SHUTDOWN_SECONDS: Final = 2


def create_app(workspace: Workspace) -> Starlette:
    """Return the application without the check of who may use it."""
    routes = [
        *START_ROUTES,
        *WORK_ROUTES,
        *PHOTO_ROUTES,
        *USE_ROUTES,
        Route("/events", events),
        Route("/assets/{version}/{name}", asset),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers=dict.fromkeys((HTTPException, AssayError, OSError, Exception), on_error),
        lifespan=_lifespan,
    )
    app.state.workspace = workspace
    return app


async def events(request: Request) -> Response:
    """Stream the revisions of photos and jobs whenever one changes."""
    studio = workspace_of(request).studio

    async def lines() -> AsyncIterator[str]:
        if studio is None:  # a page of an earlier session: it goes to the start page
            yield f"data: {json.dumps({'project': None})}\n\n"
            return
        async for _ in studio.changes.stream(_HEARTBEAT_SECONDS):
            values = {"project": studio.key, "photos": studio.project.revision, "jobs": studio.jobs_revision}
            yield f"data: {json.dumps(values)}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


async def asset(request: Request) -> Response:
    """Return a style sheet, a script or an icon."""
    version, files = assets()
    found = files.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    current = request.path_params["version"] == version
    cache = "private, max-age=31536000, immutable" if current else "no-cache"
    return Response(found[0], media_type=found[1], headers={"cache-control": cache})


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    workspace: Workspace = app.state.workspace
    running = asyncio.create_task(workspace.run())
    yield
    running.cancel()
    workspace.close()


def run_studio(folder: Path | None, port: int | None, on_ready: Callable[[str, Studio | None], None]) -> None:
    """Serve the studio of a folder, or with None a start page that opens projects, until Ctrl-C.

    Args:
        folder: of the project.
        port: None: that of the last session, else a free one.
        on_ready: called with the address, which contains the token, and the open project, if any.

    Raises:
        StudioIsOpenError: another studio uses the folder, or shows the start page.
        UsageError: there is no such folder.
        AssayError: the folder cannot be read, or the port is in use.
    """
    if folder is not None and not folder.exists():
        raise UsageError(f"there is no folder {folder}: create it, or give the folder of your photos")
    recent = RecentProjects(state_dir() / "studio")
    workspace = Workspace(recent, choosable=folder is None)
    start_lock: FolderLock | None = None
    with contextlib.ExitStack() as stack:
        if folder is not None:
            state = workspace.open(folder).project.state_folder
            stack.callback(workspace.close)
        else:
            state = recent.state_folder
            state.mkdir(parents=True, exist_ok=True)
            start_lock = FolderLock(state, "the start page")
            stack.callback(start_lock.close)
        last = stored_address(state)
        token = new_token() if last is None else last[0]
        listening = stack.enter_context(_listen(port, None if last is None else last[1]))
        bound = listening.getsockname()[1]
        store_address(state, token, bound)
        address = f"http://{HOST}:{bound}/?token={token}"
        workspace.publish(address)
        if start_lock is not None:
            start_lock.publish(address)
        app: ASGIApp = AccessControl(create_app(workspace), token, bound)
        _serve(app, workspace, listening, lambda: on_ready(address, workspace.studio))


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


def _serve(app: ASGIApp, workspace: Workspace, listening: socket.socket, on_ready: Callable[[], None]) -> None:
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
            workspace.end_streams()
            super().handle_exit(sig, frame)  # type: ignore[arg-type]

    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run([listening])
    signal.signal(signal.SIGINT, signal.default_int_handler)
