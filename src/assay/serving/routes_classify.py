"""POST /classify and POST /classify/batch.

The order is fixed: the headers are authorized, then the queue limit is checked (503), and only then is the
body read.
"""

from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from assay.serving.auth.authenticator import content_digest
from assay.serving.errors import TOO_LARGE, ApiError
from assay.serving.models import ServedModel
from assay.serving.openapi import (
    CLASSIFY_ERRORS,
    error_responses,
    example_response,
    multipart_request_body,
    success_response,
)
from assay.serving.request_body import authorize, cancel_on_disconnect, read_images, request_context
from assay.serving.request_context import RequestContext
from assay.serving.results import detail_fields, json_bytes, response_fields
from assay.serving.service import Service, TimedResult
from assay.serving.uploads import Upload, UploadLimits

Detail = Annotated[bool, Query(description="Add probabilities, doubts, the model's version and timings.")]
Explain = Annotated[bool, Query(description="Add a heat map of what speaks for the answer: PNG, base64.")]
ModelName = Annotated[str | None, Query(description="Which model answers; the first if none is named.")]

PATH = "/classify"
_MIB = 2**20


def classify_routes(service: Service) -> APIRouter:
    """Return the routes that classify."""

    async def admitted(request: Request) -> None:
        """Judge the headers before the parameters, and those before the body."""
        await authorize(service, request, "classify")

    router = APIRouter(tags=["classify"], dependencies=[Depends(admitted)])

    example = example_response(service.models.default.info)

    @router.post(
        PATH,
        summary="Classify a photo",
        openapi_extra=multipart_request_body(several=False),
        responses=success_response("The answer; more with `detail` and `explain`.", example)
        | error_responses(CLASSIFY_ERRORS),
    )
    async def one(
        request: Request, model: ModelName = None, detail: Detail = False, explain: Explain = False
    ) -> Response:
        return await _classify(service, request, model, detail=detail, explain=explain)

    @router.post(
        f"{PATH}/batch",
        summary="Classify several photos, each with its own answer or error",
        openapi_extra=multipart_request_body(several=True),
        responses=success_response("In the order of the photos.", {"results": [example, {"error": TOO_LARGE}]})
        | error_responses(CLASSIFY_ERRORS),
    )
    async def batch(
        request: Request, model: ModelName = None, detail: Detail = False, explain: Explain = False
    ) -> Response:
        call = _enter(service, request, model)
        chosen, settings = service.model(model), service.settings.uploads
        limits = UploadLimits(chosen.photo_bytes, settings.batch_photos, int(settings.batch_megabytes * _MIB))
        uploads = await read_images(service, request, limits)
        await _check_signed(call, uploads)
        work = service.classify_many(call, chosen, uploads, explain=explain)
        results = [
            {"error": one.text} if isinstance(one, ApiError) else _answer(call, chosen, one, detail=detail)
            for one in await cancel_on_disconnect(request, work)
        ]
        return _json({"results": results})

    return router


async def classify(service: Service, request: Request) -> Response:
    """Answer a request with one photo and without parameters.

    Raises:
        ApiError: there is no such model, no place, or the photo cannot be taken.
        Refusal: the client is turned away.
        GoneError: it hung up.
    """
    await authorize(service, request, "classify")
    return await _classify(service, request, None, detail=False, explain=False)


async def _classify(service: Service, request: Request, model: str | None, *, detail: bool, explain: bool) -> Response:
    call = _enter(service, request, model)
    chosen = service.model(model)
    (upload,) = await read_images(service, request, UploadLimits(chosen.photo_bytes))
    await _check_signed(call, [upload])

    def while_there(work: Coroutine[Any, Any, TimedResult]) -> Coroutine[Any, Any, TimedResult]:
        return cancel_on_disconnect(request, work)

    classified = await service.classify(call, chosen, upload, explain=explain, while_there=while_there)
    return _json(_answer(call, chosen, classified, detail=detail))


def _enter(service: Service, request: Request, model: str | None) -> RequestContext:
    """Find the model, and a place, for a request that was let in."""
    call = request_context(request)
    call.model = service.model(model)
    service.places.check_door()
    return call


async def _check_signed(call: RequestContext, uploads: list[Upload]) -> None:
    """Compare what came with what was signed."""
    if call.admission is not None and call.admission.signed:
        call.admission.check_body(content_digest([await upload.sha256() for upload in uploads]))


def _answer(call: RequestContext, model: ServedModel, classified: TimedResult, *, detail: bool) -> dict[str, Any]:
    values = response_fields(model.info, classified.result)
    if detail:
        values |= detail_fields(
            model.info,
            classified.result,
            classified.timings,
            cached=classified.cached,
            total=call.elapsed,
        )
    if classified.result.heat_map is not None:
        values["heat_map"] = classified.result.heat_map
    return values


def _json(value: object) -> Response:
    return Response(json_bytes(value), media_type="application/json")
