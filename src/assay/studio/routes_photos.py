"""Routes of the step Photos: the grid, thumbnails, edits, uploads, camera and videos."""

import asyncio
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from assay.core.errors import UsageError
from assay.studio.http import ids_field, int_field, page, read_json, started, studio_of, text_field
from assay.studio.label_edits import ADDED_FOLDER, VIDEO_FOLDER
from assay.studio.photos import Photo
from assay.studio.project import Project
from assay.studio.thumbnails import PREVIEW_SIDE, read_jpeg
from assay.studio.uploads import MAX_PHOTO_BYTES, read_limited, safe_name, save_photo, save_video

_IMMUTABLE: Final = "private, max-age=31536000, immutable"
_JPEG: Final = "image/jpeg"


async def photos_page(request: Request) -> Response:
    """Show the grid."""
    return page("photos.html.j2", request, "photos")


async def photo_list(request: Request) -> Response:
    """Return the photos that changed after `since`, or all, with classes and counts."""
    project = studio_of(request).project
    since = int_field(request.query_params, "since", 0)
    return JSONResponse(await asyncio.to_thread(_photo_list, project, since))


def _photo_list(project: Project, since: int) -> dict[str, Any]:
    # With a gap in the ids, such as after a photo was deleted, the page needs the whole list.
    revision = project.revision
    known = project.photos
    changed = project.changed_since(since) if since else list(known.values())
    counts = project.counts()
    return {
        "revision": revision,
        "total": len(known),
        "photos": [_row(photo) for photo in changed],
        "classes": [{"name": name, "count": count} for name, count in counts.classes.items()],
        "unlabelled": counts.unlabelled,
        "left_out": counts.left_out,
        "undo": project.last_edit,
        "in_folders": project.labels_in_folders,
        "label_folders": project.label_folders,
    }


def _row(photo: Photo) -> list[object]:
    return [photo.id, photo.name, photo.version, photo.label, int(photo.left_out)]


async def thumbnail(request: Request) -> Response:
    """Return the thumbnail of a photo."""
    studio = studio_of(request)
    photo = studio.project.find(request.path_params["photo"])
    key = studio.thumbnail_key(photo)
    data = studio.thumbnails.cached(key)
    if data is None:
        making = studio.thumbnails.request(studio.project.path(photo), key)
        data = await asyncio.shield(asyncio.wrap_future(making))  # others may wait for the same one
    return Response(data, media_type=_JPEG, headers={"cache-control": _IMMUTABLE})


async def preview(request: Request) -> Response:
    """Return a photo for a large view."""
    studio = studio_of(request)
    photo = studio.project.find(request.path_params["photo"])
    data = await asyncio.to_thread(read_jpeg, studio.project.path(photo), PREVIEW_SIDE)
    return Response(data, media_type=_JPEG, headers={"cache-control": _IMMUTABLE})


async def edit(request: Request) -> Response:
    """Label photos, leave them out or restore them."""
    values = await read_json(request)
    project = studio_of(request).project
    photos, seen, action = ids_field(values), int_field(values, "revision"), text_field(values, "action")
    match action:
        case "label":
            changed = await asyncio.to_thread(project.label, photos, text_field(values, "label"), seen)
        case "unlabel":
            changed = await asyncio.to_thread(project.label, photos, None, seen)
        case "leave_out":
            changed = await asyncio.to_thread(project.leave_out, photos, seen)
        case "restore":
            changed = await asyncio.to_thread(lambda: project.leave_out(photos, seen, out=False))
        case _:
            raise UsageError(f"There is no edit {action}")
    return JSONResponse({"revision": project.revision, "changed": changed})


async def edit_classes(request: Request) -> Response:
    """Create, rename, merge or delete a class, or label photos by their folders."""
    values = await read_json(request)
    project = studio_of(request).project
    action = text_field(values, "action")
    match action:
        case "create":
            await asyncio.to_thread(project.create_class, text_field(values, "name"))
        case "rename":
            await asyncio.to_thread(project.rename_class, text_field(values, "name"), text_field(values, "to"))
        case "delete":
            await asyncio.to_thread(project.delete_class, text_field(values, "name"))
        case "by_folder":
            await asyncio.to_thread(project.label_by_folder)
        case _:
            raise UsageError(f"There is no edit {action}")
    return JSONResponse({"revision": project.revision})


async def undo(request: Request) -> Response:
    """Undo the last edit."""
    project = studio_of(request).project
    done = await asyncio.to_thread(project.undo)
    return JSONResponse({"revision": project.revision, "undone": done})


async def rescan(request: Request) -> Response:
    """Look for new photos, in another folder if one is given."""
    studio = studio_of(request)
    values = await read_json(request)
    folder = text_field(values, "folder", "").strip()
    if folder:
        new = await asyncio.to_thread(studio.project.add_source, folder)
        await asyncio.to_thread(studio.rescan)
    else:
        new = await asyncio.to_thread(studio.rescan)
    return JSONResponse({"revision": studio.project.revision, "new": new})


async def upload(request: Request) -> Response:
    """Store one photo; `name` is its file name, `folder` that of its folder, and `label` its class, if it has them."""
    studio = studio_of(request)
    name, label = request.query_params.get("name", ""), _label(request)
    data = await read_limited(request.stream(), MAX_PHOTO_BYTES)
    folder = studio.project.folder / ADDED_FOLDER
    if parent := request.query_params.get("folder", ""):
        folder /= safe_name(parent)
    path, new = await asyncio.to_thread(save_photo, data, folder, name)
    await asyncio.to_thread(_add_photo, studio.project, path, label)
    return JSONResponse({"revision": studio.project.revision, "new": new})


async def shot(request: Request) -> Response:
    """Store a frame of the camera with its class, unless it is a copy of a recent one; tell whether it is."""
    studio = studio_of(request)
    label = _label(request)
    keep_copies = request.query_params.get("copies") == "keep"
    data = await read_limited(request.stream(), MAX_PHOTO_BYTES)
    copy, path = await asyncio.to_thread(studio.camera.take, data, label, keep_copies)
    if path is not None:
        await asyncio.to_thread(_add_photo, studio.project, path, label)
    return JSONResponse({"revision": studio.project.revision, "near_copy": copy, "stored": path is not None})


def _label(request: Request) -> str:
    """Return the class that new photos get, checked before they are stored; empty if they get none."""
    label = request.query_params.get("label", "")
    return studio_of(request).project.check_label(label) if label else ""


def _add_photo(project: Project, path: Path, label: str) -> None:
    """Add a new file to the project, with its label if there is one."""
    photo = project.add_file(path)
    if label and photo.label is None:
        project.label([photo.id], label, project.revision)


async def video(request: Request) -> Response:
    """Store a video and start the import of its frames."""
    studio = studio_of(request)
    name, label = request.query_params.get("name", ""), _label(request)
    every = request.query_params.get("every", "1s")
    folder = studio.project.state_folder / "videos"
    await asyncio.to_thread(lambda: folder.mkdir(parents=True, exist_ok=True))
    path = await save_video(request.stream(), folder, name)
    frames = f"{ADDED_FOLDER}/{VIDEO_FOLDER}/{safe_name(path.stem)}"
    # Arguments relative to the project, as they would be typed there.
    job = studio.start(
        "collect",
        [
            "collect",
            path.relative_to(studio.project.folder).as_posix(),
            "--to",
            f"{ADDED_FOLDER}/{VIDEO_FOLDER}",
            "--class",
            Path(frames).name,
            f"--every={every}",
            "--skip-duplicates",
            "--no-window",
        ],
        folder=frames,
        label=label,
        video=path.name,
    )
    return started(job)


PHOTO_ROUTES: Final = (
    Route("/photos", photos_page),
    Route("/api/photos", photo_list),
    Route("/thumbnails/{photo}", thumbnail),
    Route("/previews/{photo}", preview),
    Route("/api/edit", edit, methods=["POST"]),
    Route("/api/classes", edit_classes, methods=["POST"]),
    Route("/api/undo", undo, methods=["POST"]),
    Route("/api/rescan", rescan, methods=["POST"]),
    Route("/api/upload", upload, methods=["POST"]),
    Route("/api/shot", shot, methods=["POST"]),
    Route("/api/video", video, methods=["POST"]),
)
