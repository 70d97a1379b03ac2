"""HTTP routes of the labelling page, for clients with the scope admin."""

import io
from collections.abc import Callable

import msgspec
from fastapi import APIRouter, Request, Response
from PIL import Image

from assay.core.errors import AssayError
from assay.inference import Failure
from assay.inference.inputs import read_thumbnail
from assay.serving.errors import ApiError
from assay.serving.request_authorization import authorize
from assay.serving.request_body import read_body
from assay.serving.results import json_bytes
from assay.serving.service import Service
from assay.serving.web.label_candidates import LabelCandidate, suspect_candidates, uncertain_candidates
from assay.serving.web.label_store import LABELS_FILE, LabelStore

_MAX_BODY_BYTES = 4096
_MAX_PREVIEW_SIDE = 1024


class LabelingService:
    """The photos to label and the labels given, for one server."""

    def __init__(self, service: Service) -> None:
        """Read the files in the settings; raise `UsageError` if one is invalid."""
        settings = service.settings
        self._service, self._folder = service, settings.uncertain.folder
        self._suspects = (
            [] if settings.web.suspects is None else suspect_candidates(settings.web.suspects, settings.web.data)
        )
        path = settings.web.labels
        if path is None and self._folder is not None:
            path = self._folder / LABELS_FILE
        if path is None and settings.web.suspects is not None:
            path = settings.web.suspects.parent / LABELS_FILE
        self.labels = None if path is None else LabelStore(path, settings.web.data)

    def candidates(self) -> list[LabelCandidate]:
        """Return the current photos to label; raise `UsageError` if the manifest of uncertain photos cannot be read."""
        own = [] if self._folder is None else uncertain_candidates(self._folder, self._service.models.default.name)
        return [*own, *self._suspects]

    def find(self, photo: str) -> LabelCandidate:
        """Return a photo by its id; raise `ApiError` if there is none."""
        found = next((item for item in self.candidates() if item.id == photo), None)
        if found is None:
            raise ApiError(404, "This photo is not there any more")
        return found

    def overview(self) -> dict[str, object]:
        """Return the classes, the path of the manifest, and the photos with the labels given so far."""
        labels = self.labels
        given = {} if labels is None else labels.labels()
        return {
            "classes": list(self._service.models.default.classifier.classes),
            "labels": None if labels is None else str(labels.merged_path or labels.path),
            "photos": [
                {
                    "id": item.id,
                    "label": item.label,
                    "note": item.note,
                    "kind": "uncertain" if item.temporary else "suspect",
                    "given": None if labels is None else given.get(labels.photo_path(item)),
                }
                for item in self.candidates()
            ],
        }

    def set_label(self, photo: str, label: str) -> None:
        """Label a photo; raise `ApiError` if there is no such photo or class."""
        if label not in self._service.models.default.classifier.classes:
            raise ApiError(400, "There is no such class")
        self._labels().set_label(self.find(photo), label)

    def delete_label(self, photo: str) -> None:
        """Delete the label of a photo; raise `ApiError` if there is no such photo."""
        self._labels().delete_label(self.find(photo))

    def _labels(self) -> LabelStore:
        if self.labels is None:
            raise ApiError(404, "Nothing is kept to be labelled")
        return self.labels

    def picture(self, photo: str) -> bytes:
        """Return a photo as upright JPEG, at most 1024 pixels a side; raise `ApiError` if it is unreadable."""
        picture = read_thumbnail(self.find(photo).path, _MAX_PREVIEW_SIDE)
        if isinstance(picture, Failure):
            raise ApiError(422, f"The photo cannot be read: {picture.reason}")
        stream = io.BytesIO()
        Image.fromarray(picture[0]).save(stream, "JPEG", quality=85)
        return stream.getvalue()


def relabel_routes(service: Service) -> APIRouter:
    """Return the routes; raise `UsageError` if a file in the settings is invalid."""
    router = APIRouter(include_in_schema=False)
    desk = LabelingService(service)

    @router.get("/relabel/photos")
    async def photos(request: Request) -> Response:
        await authorize(service, request, "admin")
        try:
            return _json_response(await service.decoder.run(desk.overview))
        except AssayError as error:
            raise ApiError(422, str(error)) from None

    @router.get("/relabel/photos/{photo}")
    async def picture(request: Request, photo: str) -> Response:
        await authorize(service, request, "admin")
        body = await service.decoder.run(lambda: desk.picture(photo))
        return Response(body, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    @router.put("/relabel/labels/{photo}")
    async def set_label(request: Request, photo: str) -> Response:
        await authorize(service, request, "admin")
        label = _parse_label(await read_body(service, request, _MAX_BODY_BYTES))
        await _run_write(service, lambda: desk.set_label(photo, label))
        return _json_response({"label": label})

    @router.delete("/relabel/labels/{photo}")
    async def delete_label(request: Request, photo: str) -> Response:
        await authorize(service, request, "admin")
        await _run_write(service, lambda: desk.delete_label(photo))
        return _json_response({"label": None})

    return router


async def _run_write(service: Service, work: Callable[[], None]) -> None:
    try:
        await service.decoder.run(work)
    except OSError as error:
        raise ApiError(507, f"The label cannot be written: {error.strerror}") from None
    except AssayError as error:
        raise ApiError(422, f"The label cannot be written: {error}") from None


class _LabelBody(msgspec.Struct):
    label: str


def _parse_label(body: bytearray) -> str:
    try:
        return msgspec.json.decode(body, type=_LabelBody).label
    except (ValueError, RecursionError):
        raise ApiError(400, 'Send {"label": "..."}') from None


def _json_response(value: object) -> Response:
    return Response(json_bytes(value), media_type="application/json")
