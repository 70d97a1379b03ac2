"""The OpenAPI schema of the server: request bodies, response examples and errors."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from assay.bundle import BundleInfo
from assay.serving import errors

_ERRORS: dict[int, tuple[str, str]] = {
    400: ("The upload is not accepted.", errors.NO_IMAGE),
    401: ("The key is missing, wrong, revoked or expired.", "A valid key is needed"),
    403: (
        "The key lacks the scope, the country is not allowed, or a page of another origin sent the request.",
        "This needs the scope classify",
    ),
    404: ("There is no such model.", errors.MODEL_NOT_FOUND),
    408: ("The upload took too long.", errors.UPLOAD_TIMEOUT),
    415: ("The body is not a multipart form, or it is encoded.", errors.NOT_MULTIPART),
    422: ("The request cannot be fulfilled.", "No heat map can be drawn: the head has hidden layers"),
    429: ("The tier's rate limit is exceeded; see Retry-After.", "Too many requests for tier bronze"),
    500: ("Internal error.", errors.INTERNAL_ERROR),
    503: ("Too many requests are waiting, or the server is shutting down; see Retry-After.", "Too many requests wait"),
    504: ("The deadline has passed.", "No answer within 10 s"),
}
CLASSIFY_ERRORS = tuple(_ERRORS)
OPEN_ERRORS = (403, 500)
GUARDED_ERRORS = (401, 403, 429, 500)

_ERROR_SCHEMA = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def error_responses(statuses: tuple[int, ...]) -> dict[int | str, dict[str, Any]]:
    """Return the schema of the error responses with these statuses."""
    return {
        status: {"description": _ERRORS[status][0], **_json_content({"error": _ERRORS[status][1]}, _ERROR_SCHEMA)}
        for status in statuses
    }


def success_response(description: str, example: object) -> dict[int | str, dict[str, Any]]:
    """Return the schema of a successful response."""
    return {200: {"description": description, **_json_content(example)}}


def example_response(info: BundleInfo) -> dict[str, object]:
    """Return an example with the field names that the bundle defines."""
    return {info.serve.label_field: info.classes[0], info.serve.confidence_field: 0.85}


def multipart_request_body(*, multiple: bool) -> dict[str, Any]:
    """Return the schema of a form with one image or several."""
    file: dict[str, Any] = {"type": "string", "format": "binary", "description": "The image file."}
    field = {"type": "array", "items": file} if multiple else file
    schema = {"type": "object", "required": ["image"], "properties": {"image": field}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def json_request_body(example: object) -> dict[str, Any]:
    """Return the schema of a JSON body."""
    return {"requestBody": {"required": True, **_json_content(example)}}


def customize_openapi(app: FastAPI, open_paths: frozenset[str], root_path: str = "") -> None:
    """Add API keys to the schema of an application; `open_paths` need no key."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                servers=[{"url": root_path}] if root_path else None,
            )
            schema.setdefault("components", {})["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer", "description": "A key created by `assay keys`."}
            }
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    # Invalid parameters are answered with 400 in the form of all errors, not with FastAPI's 422.
                    if "HTTPValidationError" in str(operation["responses"].get("422")):
                        del operation["responses"]["422"]
                    if path not in open_paths:
                        operation["security"] = [{"key": []}, {}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _json_content(example: object, schema: object = None) -> dict[str, Any]:
    content = {"example": example} if schema is None else {"example": example, "schema": schema}
    return {"content": {"application/json": content}}
