"""Health, readiness, model list, metrics and reload endpoints.

`/live` and `/ready` are for load balancers and Kubernetes.
"""

from fastapi import APIRouter, Request, Response

from assay.core.errors import AssayError
from assay.serving.errors import ApiError
from assay.serving.model_registry import ServedModel
from assay.serving.openapi import GUARDED_ERRORS, OPEN_ERRORS, error_responses, success_response
from assay.serving.request_authorization import authorize
from assay.serving.results import json_response
from assay.serving.service import Service

UNAUTHENTICATED_PATHS = frozenset({"/health", "/live", "/ready", "/v2", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no key."""


def status_routes(service: Service) -> APIRouter:
    """Return the routes that report on the server and its models."""
    router = APIRouter(tags=["service"])
    healthy = {"status": "healthy", "service": service.models.default.info.serve.service_name}

    @router.get(
        "/health",
        summary="Health of the service",
        responses=success_response("The service is healthy.", healthy) | error_responses(OPEN_ERRORS),
    )
    async def health() -> Response:
        return json_response(healthy)

    @router.get(
        "/live",
        summary="Liveness of the process",
        responses=success_response("The process is alive.", {"status": "live"}) | error_responses(OPEN_ERRORS),
    )
    async def live() -> Response:
        return json_response({"status": "live"})

    @router.get(
        "/ready",
        summary="Readiness for new requests",
        responses=success_response("The server is ready.", {"status": "ready"}) | error_responses((403, 500, 503)),
    )
    async def ready() -> Response:
        if not service.lifecycle.ready:
            raise ApiError(503, f"Not ready: {service.lifecycle.phase.value}")
        return json_response({"status": "ready"})

    @router.get(
        "/models",
        summary="The models that are served; the first is the default",
        responses=success_response("All models.", {"models": [describe_model(model) for model in service.models]})
        | error_responses(GUARDED_ERRORS),
    )
    async def models(request: Request) -> Response:
        await authorize(service, request, "classify")
        return json_response(
            {"models": [{**describe_model(model), **_drift(service, model)} for model in service.models]}
        )

    @router.get(
        "/metrics",
        summary="Metrics in Prometheus' text format",
        responses=error_responses(GUARDED_ERRORS),
        openapi_extra={"responses": {"200": {"description": "The metrics.", "content": {"text/plain": {}}}}},
    )
    async def metrics(request: Request) -> Response:
        await authorize(service, request, "metrics")
        if service.components.metrics_source is None:
            raise ApiError(404, "Metrics are off")
        body, media_type = service.components.metrics_source.render_metrics()
        return Response(body, media_type=media_type)

    return router


def admin_routes(service: Service) -> APIRouter:
    """Return the routes for administrators."""
    router = APIRouter(tags=["admin"])

    @router.post(
        "/admin/reload",
        summary="Reload the models; if one cannot be loaded, the current models stay",
        responses=success_response("Versions by name.", {"models": {"bottle": "c6a9b5faa46c"}})
        | error_responses((*GUARDED_ERRORS, 422)),
    )
    async def reload(request: Request) -> Response:
        await authorize(service, request, "admin")
        try:
            versions = await service.models.reload()
        except AssayError as error:
            raise ApiError(422, f"The current models stay: {error}") from None
        service.on_reload()
        return json_response({"models": dict(versions)})

    return router


def describe_model(model: ServedModel) -> dict[str, object]:
    """Return a model's entry in `GET /models`."""
    info = model.info
    return {
        "name": model.name,
        "version": info.version,
        "description": info.description,
        "classes": list(info.classes),
        "size": model.classifier.preprocess.size,
        "engine": model.classifier.engine.name,
        "precision": model.precision,
        "formats": list(model.image_limits.formats),
        "max_bytes": model.max_image_bytes,
        "max_side": model.image_limits.max_side,
        "abstains": model.classifier.abstention is not None,
    }


def _drift(service: Service, model: ServedModel) -> dict[str, object]:
    """Return the drift of a model's predictions since validation, if telemetry measures it."""
    telemetry = service.components.metrics_source
    return {} if telemetry is None else {"drift": telemetry.drift(model.name)}
