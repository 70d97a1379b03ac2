"""`POST /classify` and `POST /classify/batch`: photos in, answers out.

The order is fixed: the gate judges the headers, a full house is told, and only then the body is read.
"""

from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from assay.serving.answers import answer, details, dump
from assay.serving.auth.signed import digest_of
from assay.serving.calls import Call
from assay.serving.documents import (
    CLASSIFY_ERRORS,
    answer_example,
    error_answers,
    good_answer,
    upload_form,
)
from assay.serving.doors import admit, call_of, read_photos, unless_gone
from assay.serving.errors import TOO_LARGE, ApiError
from assay.serving.models import Model
from assay.serving.service import Classified, Service
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
        await admit(service, request, "classify")

    router = APIRouter(tags=["classify"], dependencies=[Depends(admitted)])

    example = answer_example(service.models.default.info)

    @router.post(
        PATH,
        summary="Classify a photo",
        openapi_extra=upload_form(several=False),
        responses=good_answer("The answer; more with `detail` and `explain`.", example)
        | error_answers(CLASSIFY_ERRORS),
    )
    async def one(
        request: Request, model: ModelName = None, detail: Detail = False, explain: Explain = False
    ) -> Response:
        return await _classify(service, request, model, detail=detail, explain=explain)

    @router.post(
        f"{PATH}/batch",
        summary="Classify several photos, each with its own answer or error",
        openapi_extra=upload_form(several=True),
        responses=good_answer("In the order of the photos.", {"results": [example, {"error": TOO_LARGE}]})
        | error_answers(CLASSIFY_ERRORS),
    )
    async def batch(
        request: Request, model: ModelName = None, detail: Detail = False, explain: Explain = False
    ) -> Response:
        call = _enter(service, request, model)
        chosen, settings = service.model(model), service.settings.uploads
        limits = UploadLimits(chosen.photo_bytes, settings.batch_photos, int(settings.batch_megabytes * _MIB))
        uploads = await read_photos(service, request, limits)
        await _check_signed(call, uploads)
        work = service.classify_many(call, chosen, uploads, explain=explain)
        results = [
            {"error": one.text} if isinstance(one, ApiError) else _answer(call, chosen, one, detail=detail)
            for one in await unless_gone(request, work)
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
    await admit(service, request, "classify")
    return await _classify(service, request, None, detail=False, explain=False)


async def _classify(
    service: Service, request: Request, model: str | None, *, detail: bool, explain: bool
) -> Response:
    call = _enter(service, request, model)
    chosen = service.model(model)
    (upload,) = await read_photos(service, request, UploadLimits(chosen.photo_bytes))
    await _check_signed(call, [upload])

    def while_there(work: Coroutine[Any, Any, Classified]) -> Coroutine[Any, Any, Classified]:
        return unless_gone(request, work)

    classified = await service.classify(call, chosen, upload, explain=explain, while_there=while_there)
    return _json(_answer(call, chosen, classified, detail=detail))


def _enter(service: Service, request: Request, model: str | None) -> Call:
    """Find the model, and a place, for a request that was let in."""
    call = call_of(request)
    call.model = service.model(model)
    service.places.check_door()
    return call


async def _check_signed(call: Call, uploads: list[Upload]) -> None:
    """Compare what came with what was signed."""
    if call.admission is not None and call.admission.signed:
        call.admission.check_body(digest_of([await upload.sha256() for upload in uploads]))


def _answer(call: Call, model: Model, classified: Classified, *, detail: bool) -> dict[str, Any]:
    values = answer(model.info, classified.result)
    if detail:
        values |= details(
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
    return Response(dump(value), media_type="application/json")
