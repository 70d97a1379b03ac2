"""The HTTP application: routes joined, and every failure answered as `{"error": "..."}`.

Knows the framework; what is answered is decided elsewhere.
"""

from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from assay import __version__
from assay.serving.answers import dump
from assay.serving.auth.base import Refusal
from assay.serving.documents import document
from assay.serving.envelope import Envelope
from assay.serving.errors import GONE, INTERNAL, ApiError, GoneError
from assay.serving.routes_about import OPEN_PATHS, about_routes
from assay.serving.routes_admin import admin_routes
from assay.serving.routes_classify import classify_routes
from assay.serving.routes_v2 import v2_routes
from assay.serving.security_headers import App, SecurityHeaders
from assay.serving.service import Service
from assay.serving.web.mount import mount_web


def make_app(service: Service) -> App:
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
    _answer_errors(app, service)
    document(app, OPEN_PATHS)
    if service.settings.listen.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.settings.listen.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )
    return SecurityHeaders(Envelope(app, service), tls=service.settings.tls.on)


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the one form in which failures are answered."""
    return Response(dump({"error": text}), status, dict(headers or {}), "application/json")


def _answer_errors(app: FastAPI, service: Service) -> None:
    @app.exception_handler(ApiError)
    async def _api_error(_: Request, error: ApiError) -> Response:
        if error.reason is not None:
            service.parts.watcher.rejected(error.reason)
        return error_response(error.status, error.text, error.headers)

    @app.exception_handler(Refusal)
    async def _refusal(_: Request, refusal: Refusal) -> Response:
        return error_response(refusal.status, refusal.text, refusal.headers)

    @app.exception_handler(HTTPException)
    async def _http_error(_: Request, error: HTTPException) -> Response:
        return error_response(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(GoneError)
    async def _gone(_: Request, __: GoneError) -> Response:
        return error_response(GONE, "The client hung up")

    @app.exception_handler(Exception)
    async def _failed(_: Request, __: Exception) -> Response:
        # Starlette raises it again, and the HTTP server logs it.
        return error_response(500, INTERNAL)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return error_response(400, f"{first['loc'][-1]}: {first['msg']}")
