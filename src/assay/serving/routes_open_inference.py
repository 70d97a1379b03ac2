"""The endpoints of the Open Inference Protocol under /v2."""

import asyncio
import hashlib
from typing import Any

from fastapi import APIRouter, Request, Response

from assay import __version__
from assay.serving.errors import TOO_LARGE, ApiError, UploadError
from assay.serving.http_headers import parse_length
from assay.serving.models import ServedModel
from assay.serving.open_inference import InferRequest, build_response, model_metadata, parse_request
from assay.serving.openapi import CLASSIFY_ERRORS, error_responses, json_request_body, success_response
from assay.serving.request_body import authorize, cancel_on_disconnect, read_body, request_context
from assay.serving.request_context import RequestContext
from assay.serving.results import ClassificationResult, json_bytes
from assay.serving.service import Service
from assay.serving.uploads import Upload

_MIB = 2**20
_MODEL = "/v2/models/{name}"
_VERSION = _MODEL + "/versions/{version}"
_EXAMPLE = {"inputs": [{"name": "photos", "datatype": "BYTES", "shape": [1], "data": ["/9j/4AAQ..."]}]}
_ANSWER = {
    "model_name": "bottle",
    "model_version": "c6a9b5faa46c",
    "outputs": [{"name": "label", "datatype": "BYTES", "shape": [1], "data": ["open"]}],
}


def open_inference_routes(service: Service) -> APIRouter:
    """Return the routes of the Open Inference Protocol."""
    router = APIRouter(tags=["open inference protocol"])

    @router.get("/v2", summary="About the server")
    async def server() -> Response:
        name = service.models.default.info.serve.service_name
        return _json({"name": name, "version": __version__, "extensions": ["binary_tensor_data"]})

    @router.get("/v2/health/live", summary="Whether the process lives")
    async def live() -> Response:
        return _json({"live": True})

    @router.get("/v2/health/ready", summary="Whether new requests are welcome")
    async def ready() -> Response:
        is_ready = service.lifecycle.ready
        return _json({"ready": is_ready}, 200 if is_ready else 503)

    @router.get(_MODEL, summary="About a model")
    @router.get(_VERSION, summary="About a version of a model")
    async def about(request: Request, name: str, version: str | None = None) -> Response:
        await authorize(service, request, "classify")
        model = _model(service, name, version)
        side, classes = model.classifier.preprocess.size, len(model.info.classes)
        return _json(model_metadata(model.name, model.info.version, side, classes))

    @router.get(_MODEL + "/ready", summary="Whether a model is ready")
    @router.get(_VERSION + "/ready", summary="Whether a version of a model is ready")
    async def model_ready(request: Request, name: str, version: str | None = None) -> Response:
        await authorize(service, request, "classify")
        model = _model(service, name, version)
        return _json({"name": model.name, "ready": True})

    told: dict[str, Any] = {
        "summary": "Classify pixels or photos",
        "openapi_extra": json_request_body(_EXAMPLE),
        "responses": success_response("Tensors.", _ANSWER) | error_responses(CLASSIFY_ERRORS),
    }

    @router.post(_MODEL + "/infer", **told)
    @router.post(_VERSION + "/infer", **told)
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        call = await authorize(service, request, "classify")
        call.model = model = _model(service, name, version)
        service.places.check_door()
        asked = await _read(service, request, model.classifier.preprocess.size)
        predictions = await cancel_on_disconnect(request, _predict(service, call, model, asked))
        return _json(build_response(model.name, model.info.version, asked, predictions))

    return router


async def _read(service: Service, request: Request, side: int) -> InferRequest:
    """Read and parse a body. JSON has limits of its own: parsed, it takes more memory than its bytes."""
    call, settings = request_context(request), service.settings.uploads
    most_json = int(settings.json_megabytes * _MIB)
    most, left = most_json, most_json
    length = call.headers.get("inference-header-content-length")
    if length is not None:
        most, left = int(settings.batch_megabytes * _MIB), parse_length(length) or 0
        if left > most_json:
            raise UploadError(TOO_LARGE)
    with service.json_memory.share() as take:

        def take_json(count: int) -> None:
            nonlocal left
            part = min(count, left)
            left -= part
            take(part)

        body = await read_body(service, request, most, take_json)
        if call.admission is not None and call.admission.signed:
            call.admission.check_body(await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest()))
        async with service.parsing:
            limit = settings.batch_photos
            return await service.decoder.run(lambda: parse_request(body, length, side, limit))


async def _predict(
    service: Service, call: RequestContext, model: ServedModel, asked: InferRequest
) -> list[ClassificationResult]:
    if asked.pixels is not None:
        return await service.classify_pixels(call, model, asked.pixels)
    uploads = [Upload.of(photo, model.photo_bytes) for photo in asked.photos]
    classified = await service.classify_many(call, model, uploads, explain=False)
    for place, one in enumerate(classified):
        if isinstance(one, ApiError):
            raise ApiError(one.status, f"photos[{place}]: {one.text}", headers=one.headers)
    return [one.result for one in classified if not isinstance(one, ApiError)]


def _model(service: Service, name: str, version: str | None) -> ServedModel:
    model = service.model(name)
    if version is not None and version != model.info.version:
        raise ApiError(404, f"{name} is at version {model.info.version}")
    return model


def _json(value: object, status: int = 200) -> Response:
    return Response(json_bytes(value), status, media_type="application/json")
