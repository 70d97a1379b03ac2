"""What only an administrator may ask for: new models in place of the old ones."""

from fastapi import APIRouter, Request, Response

from assay.errors import AssayError
from assay.serving.answers import dump
from assay.serving.documents import GUARDED_ERRORS, error_answers, good_answer
from assay.serving.doors import admit
from assay.serving.errors import ApiError
from assay.serving.service import Service


def admin_routes(service: Service) -> APIRouter:
    """Return the routes for administrators."""
    router = APIRouter(tags=["admin"])

    @router.post(
        "/admin/reload",
        summary="Read the models anew; the old ones stay if the new ones fail",
        responses=good_answer("Versions by name.", {"models": {"bottle": "c6a9b5faa46c"}})
        | error_answers((*GUARDED_ERRORS, 422)),
    )
    async def reload(request: Request) -> Response:
        await admit(service, request, "admin")
        try:
            versions = await service.models.reload()
        except AssayError as error:
            raise ApiError(422, f"The models stay as they were: {error}") from None
        service.reloaded()
        return Response(dump({"models": dict(versions)}), media_type="application/json")

    return router
