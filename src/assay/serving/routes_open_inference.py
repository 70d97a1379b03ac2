"""The endpoints of the Open Inference Protocol under /v2."""

import asyncio
import hashlib
from typing import Any

from fastapi import APIRouter, Request, Response

from assay import __version__
from assay.serving.errors import TOO_LARGE, ApiError, UploadError
from assay.serving.http_messages import parse_length
from assay.serving.model_registry import ServedModel
from assay.serving.multipart import Upload
from assay.serving.open_inference import InferRequest, build_response, model_metadata, parse_request
from assay.serving.openapi import CLASSIFY_ERRORS, error_responses, json_request_body, success_response
from assay.serving.request_authorization import authorize
from assay.serving.request_body import read_body
from assay.serving.request_context import RequestContext, cancel_on_disconnect, request_context
from assay.serving.results import ClassificationResult, json_response
from assay.serving.service import Service

_MIB = 2**20
_MODEL = "/v2/models/{name}"
_VERSION = _MODEL + "/versions/{version}"
_REQUEST_EXAMPLE = {"inputs": [{"name": "photos", "datatype": "BYTES", "shape": [1], "data": ["/9j/4AAQ..."]}]}
_RESPONSE_EXAMPLE = {
    "model_name": "bottle",
    "model_version": "c6a9b5faa46c",
    "outputs": [{"name": "label", "datatype": "BYTES", "shape": [1], "data": ["open"]}],
}


def open_inference_routes(service: Service) -> APIRouter:
    """Return the routes of the Open Inference Protocol."""
    router = APIRouter(tags=["open inference protocol"])

    @router.get("/v2", summary="Server metadata")
    async def server() -> Response:
        name = service.models.default.info.serve.service_name
        return json_response({"name": name, "version": __version__, "extensions": ["binary_tensor_data"]})

    @router.get("/v2/health/live", summary="Liveness of the process")
    async def live() -> Response:
        return json_response({"live": True})

    @router.get("/v2/health/ready", summary="Readiness for new requests")
    async def ready() -> Response:
        is_ready = service.lifecycle.ready
        return json_response({"ready": is_ready}, 200 if is_ready else 503)

    @router.get(_MODEL, summary="Model metadata")
    @router.get(_VERSION, summary="Metadata of a model version")
    async def metadata(request: Request, name: str, version: str | None = None) -> Response:
        await authorize(service, request, "classify")
        model = _get_model(service, name, version)
        side, classes = model.classifier.preprocess.size, len(model.info.classes)
        return json_response(model_metadata(model.name, model.info.version, side, classes))

    @router.get(_MODEL + "/ready", summary="Readiness of a model")
    @router.get(_VERSION + "/ready", summary="Readiness of a model version")
    async def model_ready(request: Request, name: str, version: str | None = None) -> Response:
        await authorize(service, request, "classify")
        model = _get_model(service, name, version)
        return json_response({"name": model.name, "ready": True})

    documentation: dict[str, Any] = {
        "summary": "Classify pixels or encoded images",
        "openapi_extra": json_request_body(_REQUEST_EXAMPLE),
        "responses": success_response("Tensors.", _RESPONSE_EXAMPLE) | error_responses(CLASSIFY_ERRORS),
    }

    @router.post(_MODEL + "/infer", **documentation)
    @router.post(_VERSION + "/infer", **documentation)
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        context = await authorize(service, request, "classify")
        context.model = model = _get_model(service, name, version)
        service.admission.check_incoming()
        infer_request = await _read_request(service, request, model.classifier.preprocess.size)
        async with cancel_on_disconnect(request.receive):
            results = await _classify(service, context, model, infer_request)
        return json_response(build_response(model.name, model.info.version, infer_request, results))

    return router


async def _read_request(service: Service, request: Request, side: int) -> InferRequest:
    """Read and parse a body. JSON has its own limits, since it takes more memory once parsed."""
    context, settings = request_context(request), service.settings.uploads
    max_json = int(settings.json_megabytes * _MIB)
    max_bytes, json_left = max_json, max_json
    json_length = context.headers.get("inference-header-content-length")
    if json_length is not None:
        max_bytes, json_left = int(settings.batch_megabytes * _MIB), parse_length(json_length) or 0
        if json_left > max_json:
            raise UploadError(TOO_LARGE)
    with service.json_memory.scope() as reserve:

        def reserve_json(count: int) -> None:
            nonlocal json_left
            part = min(count, json_left)
            json_left -= part
            reserve(part)

        body = await read_body(service, request, max_bytes, reserve_json)
        if context.authorization is not None and context.authorization.signed:
            context.authorization.check_body(await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest()))
        async with service.json_parsing:
            limit = settings.batch_images
            return await service.decoder.run(lambda: parse_request(body, json_length, side, limit))


async def _classify(
    service: Service, context: RequestContext, model: ServedModel, request: InferRequest
) -> list[ClassificationResult]:
    if request.pixels is not None:
        return await service.classify_pixels(context, model, request.pixels)
    uploads = [Upload.from_bytes(image, model.max_image_bytes) for image in request.images]
    results = []
    for index, result in enumerate(await service.classify_batch(context, model, uploads, explain=False)):
        if isinstance(result, ApiError):
            raise ApiError(result.status, f"photos[{index}]: {result.text}", headers=result.headers)
        results.append(result.result)
    return results


def _get_model(service: Service, name: str, version: str | None) -> ServedModel:
    model = service.get_model(name)
    if version is not None and version != model.info.version:
        raise ApiError(404, f"{name} is at version {model.info.version}")
    return model
