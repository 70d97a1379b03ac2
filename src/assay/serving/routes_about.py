"""What a server says about itself: health, readiness, models, metrics.

`/health` is the classifier's own contract; `/live` and `/ready` are what load balancers and Kubernetes ask.
"""

from fastapi import APIRouter, Request, Response

from assay.serving.answers import dump
from assay.serving.documents import GUARDED_ERRORS, OPEN_ERRORS, error_answers, good_answer
from assay.serving.doors import admit
from assay.serving.errors import ApiError
from assay.serving.models import Model
from assay.serving.service import Service

OPEN_PATHS = frozenset({"/health", "/live", "/ready", "/v2", "/v2/health/live", "/v2/health/ready"})
"""What needs no key."""


def about_routes(service: Service) -> APIRouter:
    """Return the routes that need no photo."""
    router = APIRouter(tags=["service"])
    name = service.models.default.info.serve.service
    healthy = dump({"status": "healthy", "service": name})

    @router.get(
        "/health",
        summary="Whether the service is healthy",
        responses=good_answer("It is.", {"status": "healthy", "service": name}) | error_answers(OPEN_ERRORS),
    )
    async def health() -> Response:
        return _json(healthy)

    @router.get(
        "/live",
        summary="Whether the process lives",
        responses=good_answer("It does.", {"status": "live"}) | error_answers(OPEN_ERRORS),
    )
    async def live() -> Response:
        return _json(b'{"status":"live"}')

    @router.get(
        "/ready",
        summary="Whether new requests are welcome",
        responses=good_answer("They are.", {"status": "ready"}) | error_answers((403, 500, 503)),
    )
    async def ready() -> Response:
        if not service.lifecycle.ready:
            raise ApiError(503, f"Not ready: {service.lifecycle.phase.value}")
        return _json(b'{"status":"ready"}')

    @router.get(
        "/models",
        summary="The models that are served; the first is the default",
        responses=good_answer("All models.", {"models": [describe(one) for one in service.models]})
        | error_answers(GUARDED_ERRORS),
    )
    async def models(request: Request) -> Response:
        await admit(service, request, "classify")
        return _json(
            dump({"models": [{**describe(model), **_drift(service, model)} for model in service.models]})
        )

    @router.get(
        "/metrics",
        summary="Figures in Prometheus' text format",
        responses=error_answers(GUARDED_ERRORS),
        openapi_extra={"responses": {"200": {"description": "The figures.", "content": {"text/plain": {}}}}},
    )
    async def metrics(request: Request) -> Response:
        await admit(service, request, "metrics")
        if service.parts.watching is None:
            raise ApiError(404, "Metrics are off")
        body, kind = service.parts.watching.render_metrics()
        return Response(body, media_type=kind)

    return router


def describe(model: Model) -> dict[str, object]:
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
        "abstains": model.classifier.limits is not None,
    }


def _drift(service: Service, model: Model) -> dict[str, object]:
    """Return how far answers have moved away from validation, where somebody watches."""
    watching = service.parts.watching
    return {} if watching is None else {"drift": watching.drift(model.name)}


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
