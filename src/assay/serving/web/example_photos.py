"""Example photos for the page of the server, which the settings name: a bundle contains no photos."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from assay.core.errors import AssayError, UsageError
from assay.image.formats import sniff
from assay.image.ignore_rules import SkippedFiles
from assay.image.image_files import is_image_file, walk_images
from assay.image.thumbnail import jpeg_thumbnail
from assay.serving.errors import ApiError
from assay.serving.request_authorization import authorize
from assay.serving.results import json_response
from assay.serving.service import Service

MAX_EXAMPLES: Final = 12
MAX_BYTES: Final = 16 << 20
"""Larger files are no examples."""
_SIDE: Final = 176


@dataclass(frozen=True)
class ExamplePhoto:
    """A photo that visitors of the page can classify.

    Attributes:
        name: of the file.
        data: its content.
        thumbnail: a JPEG file.
    """

    name: str
    data: bytes
    thumbnail: bytes


def read_examples(paths: Iterable[Path]) -> list[ExamplePhoto]:
    """Read image files and folders of image files; of more than 12, take 12 at even distances.

    Raises:
        UsageError: a path does not exist, or there is no photo in it that can be read.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"examples: there is no file or folder {path}")
        listed = sorted(filter(is_image_file, walk_images(path, SkippedFiles()))) if path.is_dir() else [path]
        if not listed:
            raise UsageError(f"examples: there is no photo in {path}")
        found += listed
    count = min(len(found), MAX_EXAMPLES)
    return [_read(found[number * len(found) // count]) for number in range(count)]


def _read(path: Path) -> ExamplePhoto:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"examples: {path} is larger than {MAX_BYTES >> 20} MB")
        data = path.read_bytes()
        return ExamplePhoto(path.name, data, jpeg_thumbnail(data, _SIDE, _SIDE).data)
    except (AssayError, OSError) as error:
        raise UsageError(f"examples: {path} cannot be shown: {error}") from None


def example_routes(service: Service) -> APIRouter:
    """Return the routes of the example photos, which need the same key as `/classify`.

    Raises:
        UsageError: as for `read_examples`.
    """
    router = APIRouter(include_in_schema=False)
    examples = read_examples(service.settings.web.examples)
    rows = [{"name": item.name, "thumbnail": base64.b64encode(item.thumbnail).decode()} for item in examples]

    @router.get("/web/examples")
    async def listed(request: Request) -> Response:
        await authorize(service, request, "classify")
        return json_response({"examples": rows})

    @router.get("/web/example")
    async def photo(request: Request, number: int = 0) -> Response:
        await authorize(service, request, "classify")
        if not 0 <= number < len(examples):
            raise ApiError(404, "There is no such example")
        data = examples[number].data
        return Response(data, media_type=f"image/{sniff(data) or 'jpeg'}")

    return router
