"""Routes of the start page: recent projects, the folders of this machine, opening and creating a project."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from assay.core.errors import UsageError
from assay.studio.folder_browser import existing_folder, new_folder, places, view_folder
from assay.studio.http import read_json, text_field, workspace_of
from assay.studio.pages import render
from assay.studio.workspace import Workspace


async def home(request: Request) -> Response:
    """Go to the open project, or to the start page."""
    return RedirectResponse("/projects" if workspace_of(request).studio is None else "/photos", 303)


async def start_page(request: Request) -> Response:
    """Show recent projects and the folder `at`; in a studio of one folder, go to its photos."""
    workspace = workspace_of(request)
    if not workspace.choosable:
        return RedirectResponse("/photos", 303)
    values = await asyncio.to_thread(_start_values, workspace, request.query_params.get("at", ""))
    return HTMLResponse(render("start.html.j2", **values))


def _start_values(workspace: Workspace, at: str) -> dict[str, Any]:
    try:
        view, problem = view_folder(at), ""
    except UsageError as error:
        view, problem = view_folder(""), str(error)
    return {
        "recent": [(folder, folder.is_dir()) for folder in workspace.recent.read()],
        "view": view,
        "browsing": bool(at),
        "places": places(),
        "problem": problem,
        "project": None if workspace.studio is None else workspace.studio.project,
    }


async def open_project(request: Request) -> Response:
    """Open the project in a folder."""
    return await _open(request, lambda values: existing_folder(text_field(values, "folder")))


async def create_project(request: Request) -> Response:
    """Create a folder and open it as a project."""
    return await _open(request, lambda values: new_folder(text_field(values, "parent"), text_field(values, "name")))


async def _open(request: Request, choose: Callable[[dict[str, Any]], Path]) -> Response:
    workspace = _choosable(request)
    values = await read_json(request)
    studio = await asyncio.to_thread(lambda: workspace.open(choose(values)))
    return JSONResponse({"project": studio.key})


async def forget_project(request: Request) -> Response:
    """Take a project from the list of recent ones."""
    workspace = _choosable(request)
    values = await read_json(request)
    await asyncio.to_thread(workspace.recent.remove, Path(text_field(values, "folder")))
    return JSONResponse({})


def _choosable(request: Request) -> Workspace:
    workspace = workspace_of(request)
    if not workspace.choosable:
        raise UsageError("This studio was started for one folder: start `assay studio` without one to choose")
    return workspace


START_ROUTES: Final = (
    Route("/", home),
    Route("/projects", start_page),
    Route("/api/projects/open", open_project, methods=["POST"]),
    Route("/api/projects/create", create_project, methods=["POST"]),
    Route("/api/projects/forget", forget_project, methods=["POST"]),
)
