"""The web pages of the server: classify photos at `/`, label photos at `/relabel`.

The pages use the public API. Their Content-Security-Policy allows resources of this server only, no inline scripts,
and no conversion of text to HTML.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter, FastAPI, Request, Response

from assay.core.errors import AssayError
from assay.core.html_pages import page_css
from assay.serving.errors import ApiError
from assay.serving.request_authorization import authorize
from assay.serving.routes_classify import ModelName
from assay.serving.service import Service
from assay.serving.web.example_photos import example_routes
from assay.serving.web.relabel_routes import relabel_routes

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri {base}; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""Of the pages; `base` is 'none', or 'self' if the server has a root path."""
_REVALIDATE = "no-cache"
_IMMUTABLE = "public, max-age=31536000, immutable"
_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    media_type: str
    etag: str
    policy: str

    def response(self, request: Request, cache_control: str) -> Response:
        headers = {"etag": self.etag, "cache-control": cache_control, "content-security-policy": self.policy}
        if request.headers.get("if-none-match") == self.etag:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


def page_routes(service: Service) -> APIRouter:
    """Return the routes of the pages and their assets, which need no key, and of the model card, which does.

    The URLs of assets contain a hash of all their contents, so browsers and CDNs may cache them without expiry; the
    pages themselves are revalidated.
    """
    router = APIRouter(include_in_schema=False)
    current, assets = read_assets(service.settings.listen.root_path)
    index, relabel = assets.pop("index.html"), assets.pop("relabel.html")

    @router.get("/")
    async def index_page(request: Request) -> Response:
        return index.response(request, _REVALIDATE)

    @router.get("/relabel")
    async def relabel_page(request: Request) -> Response:
        return relabel.response(request, _REVALIDATE)

    @router.get("/web/{version}/{name}")
    async def asset(request: Request, version: str, name: str) -> Response:
        if name not in assets:
            raise ApiError(404, "Not Found")
        # During a rolling update, a page of one version may load the assets of a server of another version: these
        # must not be cached under that URL.
        return assets[name].response(request, _IMMUTABLE if version == current else _REVALIDATE)

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


def read_assets(root_path: str = "", files: Mapping[str, bytes] | None = None) -> tuple[str, dict[str, _Asset]]:
    """Return the hash of all contents, used in the URLs of assets, and the files by name.

    `root_path` is the path under which a proxy serves the server. `files` are contents by name, by default those of
    this package.
    """
    if files is None:
        folder = resources.files("assay.serving.web") / "assets"
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        files["style.css"] = page_css().encode()
    policy = CONTENT_SECURITY_POLICY.format(base="'self'" if root_path else "'none'")
    digest = hashlib.sha256()
    for name, body in sorted(files.items()):
        digest.update(f"{name} {len(body)} ".encode() + body)
    version, assets = digest.hexdigest()[:16], {}
    for name, body in files.items():
        if name.endswith(".html"):
            body = body.replace(b'="web/', f'="web/{version}/'.encode())  # noqa: PLW2901
            if root_path:
                body = body.replace(b"<head>", f'<head>\n  <base href="{root_path}/">'.encode(), 1)  # noqa: PLW2901
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        assets[name] = _Asset(body, _MEDIA_TYPES[name.rpartition(".")[2]], etag, policy)
    return version, assets


def mount_web(app: FastAPI, service: Service) -> None:
    """Add the pages to an app, unless the settings disable them; raise `UsageError` if a file in them is invalid."""
    if service.settings.web.page:
        app.include_router(page_routes(service))
        app.include_router(example_routes(service))
        app.include_router(relabel_routes(service))
