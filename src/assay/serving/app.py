"""The HTTP application: routes joined, and every failure answered as `{"error": "..."}`.

Knows the framework; what is answered is decided elsewhere.
"""

from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from assay import __version__
from assay.serving.answers import dump
from assay.serving.auth.base import Refusal
from assay.serving.auth.origins import OriginPolicy
from assay.serving.documents import document
from assay.serving.doors import call_of
from assay.serving.envelope import Envelope
from assay.serving.errors import GONE, INTERNAL, ApiError, GoneError
from assay.serving.origin_guard import OriginGuard
from assay.serving.routes_about import OPEN_PATHS, about_routes
from assay.serving.routes_admin import admin_routes
from assay.serving.routes_classify import PATH, classify, classify_routes
from assay.serving.routes_v2 import v2_routes
from assay.serving.security_headers import SecurityHeaders
from assay.serving.service import Service
from assay.serving.shortcut import Shortcut
from assay.serving.web.mount import mount_web

_FORESEEN = (ApiError, Refusal, GoneError)
"""What endpoints raise; after anything else, which is answered too, the envelope logs the traceback."""


def make_app(service: Service) -> ASGIApp:
    """Return the ASGI application of a service."""
    serve = service.models.default.info.serve

    app = FastAPI(
        title=serve.service,
        version=__version__,
        description="Classifies photos. Made by Assay.",
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat whatever host the client names.
        redirect_slashes=False,
    )
    app.include_router(about_routes(service))
    app.include_router(classify_routes(service))
    app.include_router(v2_routes(service))
    app.include_router(admin_routes(service))
    mount_web(app, service)
    document(app, OPEN_PATHS, service.settings.listen.root_path)

    async def failed(request: Request, error: Exception) -> Response:
        return failure(service, request, error)

    for kind in (*_FORESEEN, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, failed)

    def answer(request: Request, error: Exception) -> Response:
        return failure(service, request, error)

    short = {("POST", PATH): lambda request: classify(service, request)}
    answering: ASGIApp = Shortcut(app, short, answer, _FORESEEN)
    listen = service.settings.listen
    if listen.cors:
        origins = list(listen.cors)
        answering = CORSMiddleware(
            answering, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    if not service.settings.auth.required:
        policy = OriginPolicy(listen.host, listen.allowed_hosts, listen.cors)
        answering = OriginGuard(answering, policy, answer, service.parts.watcher)
    return SecurityHeaders(Envelope(answering, service), tls=service.settings.tls.on)


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the one form in which failures are answered."""
    return Response(dump({"error": text}), status, dict(headers or {}), "application/json")


def failure(service: Service, request: Request, error: Exception) -> Response:
    """Return the answer to a request that failed, and note its sentence for the request log.

    What nobody foresaw is not told to the client; the error log has it.
    """
    if isinstance(error, ApiError) and error.reason is not None:
        service.parts.watcher.rejected(error.reason)
    status, text, headers = _told(error)
    call_of(request).error = text
    return error_response(status, text, headers)


def _told(error: Exception) -> tuple[int, str, Mapping[str, str] | None]:
    if isinstance(error, ApiError | Refusal):
        return error.status, error.text, error.headers
    if isinstance(error, GoneError):
        return GONE, "The client hung up", None
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), error.headers
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return 400, f"{first['loc'][-1]}: {first['msg']}", None
    return 500, INTERNAL, None
