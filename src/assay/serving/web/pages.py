"""Serve the web pages, their static assets and the model card."""

import hashlib
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter, FastAPI, Request, Response

from assay.core.errors import AssayError
from assay.serving.errors import ApiError
from assay.serving.request_body import authorize
from assay.serving.routes_classify import ModelName
from assay.serving.service import Service
from assay.serving.web.relabel_routes import relabel_routes

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri {base}; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""Content-Security-Policy of the pages; `base` is 'none', or 'self' where their addresses have a prefix."""
_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    """A file for the browser."""

    body: bytes
    kind: str
    tag: str
    policy: str

    def answer(self, request: Request) -> Response:
        """Give the file, or say that the browser has it."""
        headers = {"etag": self.tag, "cache-control": "no-cache", "content-security-policy": self.policy}
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.kind)


def page_routes(service: Service) -> APIRouter:
    """Return the routes of the pages; they need no key, for they hold nothing but themselves."""
    router = APIRouter(include_in_schema=False)
    assets = _read_assets(service.settings.listen.root_path)
    pages = {"/": "index.html", "/relabel": "relabel.html"}

    def serve(path: str, asset: _Asset) -> None:
        async def answer(request: Request) -> Response:
            return asset.answer(request)

        router.add_api_route(path, answer, methods=["GET"])

    for path, name in pages.items():
        serve(path, assets.pop(name))
    for name, asset in assets.items():
        serve(f"/web/{name}", asset)

    @router.get("/web/card")
    async def card(request: Request, model: ModelName = None) -> Response:
        await authorize(service, request, "classify")
        bundle = service.get_model(model).classifier.bundle
        if bundle is None:
            raise ApiError(404, "This model has no card")
        try:
            return Response(bundle.card, media_type="text/markdown; charset=utf-8")
        except AssayError as error:
            raise ApiError(404, f"The model's card cannot be read: {error}") from None

    return router


def _read_assets(root_path: str) -> dict[str, _Asset]:
    """Read the files. All links in them are relative, to `root_path` where one is set."""
    folder = resources.files("assay.serving.web") / "assets"
    policy = CONTENT_SECURITY_POLICY.format(base="'self'" if root_path else "'none'")
    read = {}
    for file in folder.iterdir():
        body = file.read_bytes()
        if root_path and file.name.endswith(".html"):
            body = body.replace(b"<head>", f'<head>\n  <base href="{root_path}/">'.encode(), 1)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        read[file.name] = _Asset(body, _MEDIA_TYPES[file.name.rpartition(".")[2]], tag, policy)
    return read


def mount_web(app: FastAPI, service: Service) -> None:
    """Add the pages to an app, if the settings want them.

    Raises:
        UsageError: a file that the settings name is not what it should be.
    """
    if service.settings.web.page:
        app.include_router(page_routes(service))
        app.include_router(relabel_routes(service))
