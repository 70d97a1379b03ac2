"""The FastAPI application: routes, middleware and the conversion of exceptions to JSON error responses."""

from collections.abc import Mapping
from functools import partial

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from assay import __version__
from assay.recipe.validation_text import describe_invalid
from assay.serving.auth import AccessDeniedError
from assay.serving.auth.origin_policy import OriginPolicy
from assay.serving.errors import CLIENT_CLOSED_REQUEST, INTERNAL_ERROR, ApiError, ClientDisconnectedError
from assay.serving.http_messages import SecurityHeaders
from assay.serving.middleware import FastPathMiddleware, OriginMiddleware, RequestContextMiddleware
from assay.serving.openapi import customize_openapi
from assay.serving.request_context import request_context
from assay.serving.results import json_bytes
from assay.serving.routes_classify import CLASSIFY_PATH, classify, classify_routes
from assay.serving.routes_management import UNAUTHENTICATED_PATHS, admin_routes, status_routes
from assay.serving.routes_open_inference import open_inference_routes
from assay.serving.service import Service
from assay.serving.telemetry import RequestRejected
from assay.serving.web import mount_web

_EXPECTED_ERRORS = (ApiError, AccessDeniedError, ClientDisconnectedError)
"""What endpoints raise; anything else is answered with 500 and logged with its traceback."""


def create_app(service: Service) -> ASGIApp:
    """Return the ASGI application of a service."""
    app = FastAPI(
        title=service.models.default.info.serve.service_name,
        version=__version__,
        description="Image classification, served by Assay.",
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat whatever host the client sent.
        redirect_slashes=False,
    )
    app.include_router(status_routes(service))
    app.include_router(classify_routes(service))
    app.include_router(open_inference_routes(service))
    app.include_router(admin_routes(service))
    mount_web(app, service)
    customize_openapi(app, UNAUTHENTICATED_PATHS, service.settings.listen.root_path)

    def on_error(request: Request, error: Exception) -> Response:
        return handle_error(service, request, error)

    async def on_error_async(request: Request, error: Exception) -> Response:
        # FastAPI would call a plain function in a thread.
        return handle_error(service, request, error)

    for error_type in (*_EXPECTED_ERRORS, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(error_type, on_error_async)

    endpoints = {("POST", CLASSIFY_PATH): partial(classify, service)}
    wrapped: ASGIApp = FastPathMiddleware(app, endpoints, on_error, _EXPECTED_ERRORS)
    listen = service.settings.listen
    if listen.cors:
        origins = list(listen.cors)
        wrapped = CORSMiddleware(wrapped, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["*"])
    if not service.settings.auth.required:
        policy = OriginPolicy(listen.host, listen.allowed_hosts, listen.cors)
        wrapped = OriginMiddleware(wrapped, policy, on_error, service.components.telemetry)
    return RequestContextMiddleware(wrapped, service, SecurityHeaders(tls=service.settings.tls.on))


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error response; all errors have this form."""
    return Response(json_bytes({"error": text}), status, dict(headers or {}), "application/json")


def handle_error(service: Service, request: Request, error: Exception) -> Response:
    """Return the response to a request that failed, and store its message for the request log.

    Messages of unexpected exceptions are logged, but not sent to the client.
    """
    if isinstance(error, ApiError) and error.reason is not None:
        service.components.telemetry.emit(RequestRejected(error.reason))
    status, text, headers = _describe_error(error)
    request_context(request).error = text
    return error_response(status, text, headers)


def _describe_error(error: Exception) -> tuple[int, str, Mapping[str, str] | None]:
    if isinstance(error, ApiError | AccessDeniedError):
        return error.status, error.text, error.headers
    if isinstance(error, ClientDisconnectedError):
        return CLIENT_CLOSED_REQUEST, "The client disconnected", None
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), error.headers
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return 400, f"{first['loc'][-1]}: {describe_invalid(first, json=True)}", None
    return 500, INTERNAL_ERROR, None
