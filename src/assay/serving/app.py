"""The FastAPI application: routes, middleware and the conversion of exceptions to JSON error responses."""

from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from assay import __version__
from assay.serving.auth.interfaces import AccessDeniedError
from assay.serving.auth.origins import OriginPolicy
from assay.serving.errors import CLIENT_CLOSED_REQUEST, INTERNAL_ERROR, ApiError, ClientDisconnectedError
from assay.serving.http_headers import SecurityHeadersMiddleware
from assay.serving.middleware import FastPathMiddleware, OriginMiddleware, RequestContextMiddleware
from assay.serving.openapi import customize_openapi
from assay.serving.request_body import request_context
from assay.serving.results import json_bytes
from assay.serving.routes_classify import PATH, classify, classify_routes
from assay.serving.routes_management import UNAUTHENTICATED_PATHS, admin_routes, status_routes
from assay.serving.routes_open_inference import open_inference_routes
from assay.serving.service import Service
from assay.serving.telemetry import RequestRejected
from assay.serving.web.pages import mount_web

_EXPECTED_ERRORS = (ApiError, AccessDeniedError, ClientDisconnectedError)
"""What endpoints raise; after anything else, which is answered too, the envelope logs the traceback."""


def create_app(service: Service) -> ASGIApp:
    """Return the ASGI application of a service."""
    serve = service.models.default.info.serve

    app = FastAPI(
        title=serve.service_name,
        version=__version__,
        description="Classifies photos. Made by Assay.",
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat whatever host the client names.
        redirect_slashes=False,
    )
    app.include_router(status_routes(service))
    app.include_router(classify_routes(service))
    app.include_router(open_inference_routes(service))
    app.include_router(admin_routes(service))
    mount_web(app, service)
    customize_openapi(app, UNAUTHENTICATED_PATHS, service.settings.listen.root_path)

    async def failed(request: Request, error: Exception) -> Response:
        return handle_error(service, request, error)

    for kind in (*_EXPECTED_ERRORS, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, failed)

    def answer(request: Request, error: Exception) -> Response:
        return handle_error(service, request, error)

    short = {("POST", PATH): lambda request: classify(service, request)}
    answering: ASGIApp = FastPathMiddleware(app, short, answer, _EXPECTED_ERRORS)
    listen = service.settings.listen
    if listen.cors:
        origins = list(listen.cors)
        answering = CORSMiddleware(answering, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["*"])
    if not service.settings.auth.required:
        policy = OriginPolicy(listen.host, listen.allowed_hosts, listen.cors)
        answering = OriginMiddleware(answering, policy, answer, service.parts.telemetry)
    return SecurityHeadersMiddleware(RequestContextMiddleware(answering, service), tls=service.settings.tls.on)


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the one form in which failures are answered."""
    return Response(json_bytes({"error": text}), status, dict(headers or {}), "application/json")


def handle_error(service: Service, request: Request, error: Exception) -> Response:
    """Return the answer to a request that failed, and note its sentence for the request log.

    What nobody foresaw is not told to the client; the error log has it.
    """
    if isinstance(error, ApiError) and error.reason is not None:
        service.parts.telemetry.emit(RequestRejected(error.reason))
    status, text, headers = _describe_error(error)
    request_context(request).error = text
    return error_response(status, text, headers)


def _describe_error(error: Exception) -> tuple[int, str, Mapping[str, str] | None]:
    if isinstance(error, ApiError | AccessDeniedError):
        return error.status, error.text, error.headers
    if isinstance(error, ClientDisconnectedError):
        return CLIENT_CLOSED_REQUEST, "The client hung up", None
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), error.headers
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return 400, f"{first['loc'][-1]}: {first['msg']}", None
    return 500, INTERNAL_ERROR, None
