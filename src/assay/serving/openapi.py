"""The OpenAPI schema of the server: request bodies, response examples and errors."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from assay.bundle import BundleInfo
from assay.serving import errors

_ERRORS: dict[int, tuple[str, str]] = {
    400: ("The upload cannot be taken.", errors.NO_IMAGE),
    401: ("The key is missing, wrong, revoked or expired.", "A valid key is needed"),
    403: (
        "The key is not made for this, the country is refused, or another origin's page asks.",
        "This needs the scope classify",
    ),
    404: ("There is no such model.", errors.MODEL_NOT_FOUND),
    408: ("The upload took too long.", errors.UPLOAD_TIMEOUT),
    415: ("The body is no multipart form, or it is encoded.", errors.NOT_MULTIPART),
    422: ("It cannot be done as asked.", "No heat map can be drawn: the head is no single linear layer"),
    429: ("The tier's rate is used up; see Retry-After.", "Too many requests for tier bronze"),
    500: ("A fault of the server.", errors.INTERNAL_ERROR),
    503: ("Too many requests wait, or the server is ending; see Retry-After.", "Too many requests wait"),
    504: ("No answer came in time.", "No answer within 10 s"),
}
CLASSIFY_ERRORS = tuple(_ERRORS)
OPEN_ERRORS = (403, 500)
GUARDED_ERRORS = (401, 403, 429, 500)

_ERROR_SCHEMA = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def error_responses(statuses: tuple[int, ...]) -> dict[int | str, dict[str, Any]]:
    """Return the documents of failures with these statuses."""
    return {
        status: {"description": _ERRORS[status][0], **_json_content({"error": _ERRORS[status][1]}, _ERROR_SCHEMA)}
        for status in statuses
    }


def success_response(description: str, example: object) -> dict[int | str, dict[str, Any]]:
    """Return the document of a success."""
    return {200: {"description": description, **_json_content(example)}}


def example_response(info: BundleInfo) -> dict[str, object]:
    """Return an answer as the bundle words it."""
    return {info.serve.label_field: info.classes[0], info.serve.confidence_field: 0.85}


def multipart_request_body(*, several: bool) -> dict[str, Any]:
    """Return the document of a form with a photo, or several."""
    file: dict[str, Any] = {"type": "string", "format": "binary", "description": "The photo's file."}
    field = {"type": "array", "items": file} if several else file
    schema = {"type": "object", "required": ["image"], "properties": {"image": field}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def json_request_body(example: object) -> dict[str, Any]:
    """Return the document of a JSON body."""
    return {"requestBody": {"required": True, **_json_content(example)}}


def customize_openapi(app: FastAPI, open_paths: frozenset[str], root_path: str = "") -> None:
    """Have the app tell of keys: wherever a path is not open to everybody.

    Args:
        app: the application.
        open_paths: those that need no key.
        root_path: where the server is below its host.
    """

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
                "key": {"type": "http", "scheme": "bearer", "description": "A key made by `assay keys`."}
            }
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    # FastAPI's own form of invalid parameters is not ours.
                    if "HTTPValidationError" in str(operation["responses"].get("422")):
                        del operation["responses"]["422"]
                    if path not in open_paths:
                        operation["security"] = [{"key": []}, {}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _json_content(example: object, schema: object = None) -> dict[str, Any]:
    told = {"example": example} if schema is None else {"example": example, "schema": schema}
    return {"content": {"application/json": told}}
