"""POST /classify and POST /classify/batch.

Headers are authorized first, then the queue limit is checked (503), and only then is the body read.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from assay.serving.auth.authenticator import content_digest
from assay.serving.errors import TOO_LARGE, ApiError
from assay.serving.model_registry import ServedModel
from assay.serving.multipart import Upload, UploadLimits
from assay.serving.openapi import (
    CLASSIFY_ERRORS,
    error_responses,
    example_response,
    multipart_request_body,
    success_response,
)
from assay.serving.request_authorization import authorize
from assay.serving.request_body import read_images
from assay.serving.request_context import RequestContext, cancel_on_disconnect, request_context
from assay.serving.results import detail_fields, json_response, response_fields
from assay.serving.service import Service, TimedResult

Detail = Annotated[
    bool, Query(description="Add probabilities, the reason for abstaining, the model's version and timings.")
]
Explain = Annotated[bool, Query(description="Add a heat map of the regions that support the answer, as PNG in base64.")]
ModelName = Annotated[str | None, Query(description="Name of the model; without it, the first model answers.")]

CLASSIFY_PATH = "/classify"
_MIB = 2**20


def classify_routes(service: Service) -> APIRouter:
    """Return the routes that classify images."""

    async def authorized(request: Request) -> None:
        """Authorize by the headers, before parameters are validated and the body is read."""
        await authorize(service, request, "classify")

    router = APIRouter(tags=["classify"], dependencies=[Depends(authorized)])

    example = example_response(service.models.default.info)

    @router.post(
        CLASSIFY_PATH,
        summary="Classify an image",
        openapi_extra=multipart_request_body(multiple=False),
        responses=success_response("The answer; more fields with `detail` and `explain`.", example)
        | error_responses(CLASSIFY_ERRORS),
    )
    async def single(
        request: Request, model: ModelName = None, detail: Detail = False, explain: Explain = False
    ) -> Response:
        return await classify(service, request, model, detail=detail, explain=explain)

    @router.post(
        f"{CLASSIFY_PATH}/batch",
        summary="Classify several images, each with its own answer or error",
        openapi_extra=multipart_request_body(multiple=True),
        responses=success_response("In the order of the images.", {"results": [example, {"error": TOO_LARGE}]})
        | error_responses(CLASSIFY_ERRORS),
    )
    async def batch(
        request: Request, model: ModelName = None, detail: Detail = False, explain: Explain = False
    ) -> Response:
        context = request_context(request)
        context.model = served = service.get_model(model)
        service.admission.check_incoming()
        settings = service.settings.uploads
        limits = UploadLimits(served.max_image_bytes, settings.batch_images, int(settings.batch_megabytes * _MIB))
        uploads = await read_images(service, request, limits)
        await _check_signature(context, uploads)
        async with cancel_on_disconnect(request.receive):
            results = await service.classify_batch(context, served, uploads, explain=explain)
        return json_response(
            {
                "results": [
                    {"error": result.text}
                    if isinstance(result, ApiError)
                    else _response_body(context, served, result, detail=detail)
                    for result in results
                ]
            }
        )

    return router


async def classify(
    service: Service, request: Request, model: str | None = None, *, detail: bool = False, explain: bool = False
) -> Response:
    """Respond to a request with one image.

    Raises:
        ApiError: there is no such model, no capacity, or the image is not accepted.
        AccessDeniedError: the client may not classify.
        ClientDisconnectedError: the client disconnected.
    """
    context = request_context(request)
    if context.authorization is None:
        await authorize(service, request, "classify")
    context.model = served = service.get_model(model)
    service.admission.check_incoming()
    (upload,) = await read_images(service, request, UploadLimits(served.max_image_bytes))
    await _check_signature(context, [upload])
    result = await service.classify(context, served, upload, explain=explain, receive=request.receive)
    return json_response(_response_body(context, served, result, detail=detail))


async def _check_signature(context: RequestContext, uploads: list[Upload]) -> None:
    """Compare the images with the digest that the client has signed, if it has."""
    if context.authorization is not None and context.authorization.signed:
        context.authorization.check_body(content_digest([await upload.sha256() for upload in uploads]))


def _response_body(context: RequestContext, model: ServedModel, timed: TimedResult, *, detail: bool) -> dict[str, Any]:
    body = response_fields(model.info, timed.result)
    if detail:
        body |= detail_fields(model.info, timed.result, timed.timings, cached=timed.cached, total=context.elapsed)
    if timed.result.heat_map is not None:
        body["heat_map"] = timed.result.heat_map
    return body
