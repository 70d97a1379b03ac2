"""Health, readiness, model list, metrics and reload endpoints."""

from fastapi import APIRouter, Request, Response

from assay.core.errors import AssayError
from assay.serving.errors import ApiError
from assay.serving.models import ServedModel
from assay.serving.openapi import GUARDED_ERRORS, OPEN_ERRORS, error_responses, success_response
from assay.serving.request_body import authorize
from assay.serving.results import json_bytes
from assay.serving.service import Service

UNAUTHENTICATED_PATHS = frozenset({"/health", "/live", "/ready", "/v2", "/v2/health/live", "/v2/health/ready"})
"""What needs no key."""


def status_routes(service: Service) -> APIRouter:
    """Return the routes that need no photo."""
    router = APIRouter(tags=["service"])
    name = service.models.default.info.serve.service_name
    healthy = json_bytes({"status": "healthy", "service": name})

    @router.get(
        "/health",
        summary="Whether the service is healthy",
        responses=success_response("It is.", {"status": "healthy", "service": name}) | error_responses(OPEN_ERRORS),
    )
    async def health() -> Response:
        return _json(healthy)

    @router.get(
        "/live",
        summary="Whether the process lives",
        responses=success_response("It does.", {"status": "live"}) | error_responses(OPEN_ERRORS),
    )
    async def live() -> Response:
        return _json(b'{"status":"live"}')

    @router.get(
        "/ready",
        summary="Whether new requests are welcome",
        responses=success_response("They are.", {"status": "ready"}) | error_responses((403, 500, 503)),
    )
    async def ready() -> Response:
        if not service.lifecycle.ready:
            raise ApiError(503, f"Not ready: {service.lifecycle.phase.value}")
        return _json(b'{"status":"ready"}')

    @router.get(
        "/models",
        summary="The models that are served; the first is the default",
        responses=success_response("All models.", {"models": [describe_model(one) for one in service.models]})
        | error_responses(GUARDED_ERRORS),
    )
    async def models(request: Request) -> Response:
        await authorize(service, request, "classify")
        return _json(
            json_bytes({"models": [{**describe_model(model), **_drift(service, model)} for model in service.models]})
        )

    @router.get(
        "/metrics",
        summary="Figures in Prometheus' text format",
        responses=error_responses(GUARDED_ERRORS),
        openapi_extra={"responses": {"200": {"description": "The figures.", "content": {"text/plain": {}}}}},
    )
    async def metrics(request: Request) -> Response:
        await authorize(service, request, "metrics")
        if service.parts.metrics_source is None:
            raise ApiError(404, "Metrics are off")
        body, kind = service.parts.metrics_source.render_metrics()
        return Response(body, media_type=kind)

    return router


def describe_model(model: ServedModel) -> dict[str, object]:
    """Return what is told of a model."""
    info = model.info
    return {
        "name": model.name,
        "version": info.version,
        "description": info.description,
        "classes": list(info.classes),
        "size": model.classifier.preprocess.size,
        "engine": model.classifier.engine.name,
        "precision": model.precision,
        "formats": list(model.limits.formats),
        "max_bytes": model.photo_bytes,
        "max_side": model.limits.max_side,
        "abstains": model.classifier.abstention is not None,
    }


def _drift(service: Service, model: ServedModel) -> dict[str, object]:
    """Return how far answers have moved away from validation, where somebody watches."""
    telemetry = service.parts.metrics_source
    return {} if telemetry is None else {"drift": telemetry.drift(model.name)}


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def admin_routes(service: Service) -> APIRouter:
    """Return the routes for administrators."""
    router = APIRouter(tags=["admin"])

    @router.post(
        "/admin/reload",
        summary="Read the models anew; the old ones stay if the new ones fail",
        responses=success_response("Versions by name.", {"models": {"bottle": "c6a9b5faa46c"}})
        | error_responses((*GUARDED_ERRORS, 422)),
    )
    async def reload(request: Request) -> Response:
        await authorize(service, request, "admin")
        try:
            versions = await service.models.reload()
        except AssayError as error:
            raise ApiError(422, f"The models stay as they were: {error}") from None
        service.reloaded()
        return Response(json_bytes({"models": dict(versions)}), media_type="application/json")

    return router
