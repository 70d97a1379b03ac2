"""Requests and responses of the studio: bounded JSON bodies, fields of the right type, errors as sentences."""

import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from assay.core.errors import AssayError, UsageError
from assay.studio.errors import NoProjectError, NotFoundError, StaleEditError
from assay.studio.jobs import Job
from assay.studio.pages import STEPS, render, text
from assay.studio.service import Studio
from assay.studio.uploads import read_limited
from assay.studio.workspace import Workspace

MAX_JSON_BYTES: Final = 8 << 20
"""Enough for the ids of 400,000 photos."""
PROJECT_HEADER: Final = "x-assay-project"
"""Of requests of a page's script: the key of the project that the page shows."""
_STATUS: Final[Mapping[type[AssayError], int]] = {NotFoundError: 404, StaleEditError: 409, NoProjectError: 409}


def workspace_of(request: Request) -> Workspace:
    """Return what opens projects."""
    found = request.app.state.workspace
    assert isinstance(found, Workspace)  # noqa: S101 - set by create_app
    return found


def studio_of(request: Request) -> Studio:
    """Return the studio of the open project.

    Raises:
        NoProjectError: there is none, or the request is from a page of another one.
    """
    studio = workspace_of(request).studio
    if studio is None:
        raise NoProjectError("No project is open: choose one on the start page")
    if request.headers.get(PROJECT_HEADER, studio.key) != studio.key:
        raise NoProjectError("Another project was opened meanwhile; load this page again")
    return studio


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body of a request.

    Raises:
        UsageError: it is none, or too long.
    """
    data = await read_limited(request.stream(), MAX_JSON_BYTES)
    try:
        values = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        raise UsageError("The request is no JSON") from None
    if not isinstance(values, dict):
        raise UsageError("The request must be a JSON object")
    return values


def text_field(values: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """Return a text in a request; `UsageError` if it is missing or of another type."""
    value = values.get(name, default)
    if not isinstance(value, str):
        raise UsageError(f"The request needs the text {name}")
    return value


def int_field(values: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Return an integer in a request, not negative; `UsageError` if it is missing or of another type."""
    value = values.get(name, default)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 12:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageError(f"The request needs the number {name}")
    return value


def ids_field(values: Mapping[str, Any], name: str = "photos") -> list[str]:
    """Return a list of ids in a request; `UsageError` if it is missing or of another type."""
    value = values.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"The request needs the list {name}")
    return value


def path_int(request: Request, name: str) -> int:
    """Return an integer in the path of a request."""
    return int(request.path_params[name])


def page(template: str, request: Request, step: str, **values: Any) -> Response:
    """Return a page of the studio."""
    return fragment(template, request, step=step, **values)


def started(job: Job) -> Response:
    """Return the number of a job that was started, and the command that does the same."""
    return JSONResponse({"job": job.number, "command": job.command})


def fragment(template: str, request: Request, **values: Any) -> Response:
    """Return a part of a page."""
    studio = studio_of(request)
    return HTMLResponse(
        render(
            template,
            studio=studio,
            project=studio.project,
            counts=studio.project.counts(),
            choosable=workspace_of(request).choosable,
            **values,
        )
    )


async def on_error(request: Request, error: Exception) -> Response:
    """Return the response to an error: a page for a person, else JSON with the sentence."""
    is_page = _wants_page(request)
    if isinstance(error, NoProjectError) and is_page:
        return RedirectResponse("/", 303)
    status, message = _status_and_message(error)
    headers = error.headers if isinstance(error, HTTPException) else None
    if is_page:
        return HTMLResponse(_error_page(request, message), status, headers)
    return JSONResponse({"error": message}, status, headers)


def _wants_page(request: Request) -> bool:
    """Return whether a browser shows the response as a page, rather than a script, an image or another program."""
    headers = request.headers
    is_script = PROJECT_HEADER in headers or "hx-request" in headers
    return "text/html" in headers.get("accept", "") and not is_script


def _status_and_message(error: Exception) -> tuple[int, str]:
    if isinstance(error, HTTPException):
        return error.status_code, text("no_page") if error.status_code == 404 else error.detail
    if isinstance(error, AssayError):
        return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400), str(error)
    if isinstance(error, OSError):
        return 507, f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return 500, "The studio has a bug here; its terminal shows the details"


def _error_page(request: Request, message: str) -> str:
    """Return a page that says what is missing or wrong, with a link to the step it belongs to, or to the first page."""
    workspace, url = workspace_of(request), request.url
    first = url.path.split("/")[1]
    back = first if first in STEPS and (url.path, url.query) != (f"/{first}", "") else ""
    studio = workspace.studio
    return render(
        "error.html.j2",
        message=message,
        step="",
        back=back if studio else "",
        studio=studio,
        project=studio and studio.project,
        choosable=workspace.choosable,
    )
