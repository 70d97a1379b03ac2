"""Routes of the steps Try and Use: one photo, exports, the server on this machine, rules on a camera."""

import asyncio
import base64
import shlex
import socket
from contextlib import suppress
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from assay.bundle import Bundle
from assay.core.errors import AssayError, UsageError
from assay.inference import Classifier
from assay.inference.explanation import MAX_SIDE
from assay.serving.auth.keys import KEYS_FILE, KeyManager
from assay.studio.camera_rule import CameraRule, read_rule_state
from assay.studio.http import fragment, page, read_json, started, studio_of, text_field
from assay.studio.labels import LABELS_FILE
from assay.studio.project import STATE_FOLDER
from assay.studio.runs import MODELS_FOLDER, RUNS_FOLDER, RunSummary
from assay.studio.security import HOST
from assay.studio.service import KEYS_FOLDER, UNCERTAIN_FOLDER, Studio
from assay.studio.source_choices import VIDEO_FOLDER, source_choices
from assay.studio.uploads import MAX_PHOTO_BYTES, read_limited, save_video

FORMATS: Final = ("onnx", "onnx-int8", "openvino", "openvino-int8", "torchscript")
"""Of `assay export`."""
_FIRST_PORT: Final = 8000
_PORTS: Final = 200
_CLIENT: Final = "studio"


async def try_page(request: Request) -> Response:
    """Show the page that classifies a photo."""
    studio = studio_of(request)
    return page("try.html.j2", request, "try", runs=await asyncio.to_thread(_usable_runs, studio))


async def classify(request: Request) -> Response:
    """Classify the photo in the body; with `explain` the answer has a heat map."""
    studio = studio_of(request)
    run, explain = request.query_params.get("run", ""), "explain" in request.query_params
    data = await read_limited(request.stream(), MAX_PHOTO_BYTES)
    return JSONResponse(await asyncio.to_thread(_answer, studio, run, data, explain))


def _answer(studio: Studio, run: str, data: bytes, explain: bool) -> dict[str, Any]:
    classifier = studio.classifier(run)
    if not explain:
        return _answer_dict(classifier, data)
    explanation = classifier.explain(data)
    picture = base64.b64encode(explanation.png(MAX_SIDE // 2)).decode()
    return {**explanation.prediction.to_dict(), "heat_map": picture}


def _answer_dict(classifier: Classifier, data: bytes) -> dict[str, Any]:
    (prediction,) = classifier.predict([data])
    return prediction.to_dict()


async def use_page(request: Request) -> Response:
    """Show exports, the server and the camera."""
    studio = studio_of(request)
    values = await asyncio.to_thread(_use_values, studio)
    classes = await asyncio.to_thread(_classes, studio, values["runs"][:1])
    folder, added = studio.project.folder, studio.project.state_folder / "videos"
    sources = await asyncio.to_thread(source_choices, folder, added)
    return page("use.html.j2", request, "use", classes=classes, sources=sources, **values)


def _classes(studio: Studio, runs: list[RunSummary]) -> tuple[str, ...]:
    """Return the classes of the first run; none if its classifier is damaged, which a command on it says."""
    with suppress(AssayError):
        return studio.runs.classes(runs[0].name) if runs else ()
    return ()


async def use_live(request: Request) -> Response:
    """Return the part of the page about the server, or with `part=export` that about exports."""
    part = request.query_params.get("part", "server")
    return fragment("use_live.html.j2", request, part=part, **await asyncio.to_thread(_use_values, studio_of(request)))


def _use_values(studio: Studio) -> dict[str, Any]:
    server = studio.jobs.latest("serve")
    export = studio.jobs.latest("export")
    ready = server is not None and server.running and (not server.command or "answers with" in server.output())
    return {
        "runs": _usable_runs(studio),
        "formats": FORMATS,
        "server": server,
        "ready": ready,
        "key": _key(studio) if server is not None and server.running else None,
        "example": next((str(studio.project.folder / name) for name in studio.checked_photos()), "photo.jpg"),
        "export": export,
        "exported": None if export is None or export.running else export.result(),
        "uncertain": studio.uncertain_count(),
        "rule": (rule := studio.jobs.latest("watch")),
        "seen": None if rule is None else read_rule_state(rule.last_lines()),
        "quote": shlex.quote,
    }


def _usable_runs(studio: Studio) -> list[RunSummary]:
    """Return the runs that have a classifier, those that are finished first."""
    usable = [run for run in studio.runs.summaries() if run.bundle]
    return sorted(usable, key=lambda run: not run.finished)


async def start_export(request: Request) -> Response:
    """Export the classifier of a run."""
    studio = studio_of(request)
    values = await read_json(request)
    run = text_field(values, "run")
    path = await asyncio.to_thread(studio.runs.bundle, run)
    chosen = values.get("format", [])
    chosen = [chosen] if isinstance(chosen, str) else chosen
    formats = [name for name in FORMATS if isinstance(chosen, list) and name in chosen]
    if not formats:
        raise UsageError("Choose at least one format")
    precisions = await asyncio.to_thread(lambda: Bundle.open(path).precisions)
    photos = studio.checked_photos()
    arguments = ["export", f"{RUNS_FOLDER}/{run}/model.assay", "--to", f"{MODELS_FOLDER}/{run}"]
    arguments += [word for name in formats for word in ("--format", name)]
    arguments += [word for name in photos for word in ("--check", name)] if photos else ["--no-check"]
    if "int8" not in precisions and any("int8" in name for name in formats):
        arguments += ["--int8", LABELS_FILE]
    async with studio.only_one("export"):
        return started(studio.start("export", [*arguments, "--json"], run=run))


async def start_server(request: Request) -> Response:
    """Serve the classifier of a run on this machine."""
    studio = studio_of(request)
    values = await read_json(request)
    run = text_field(values, "run")
    await asyncio.to_thread(studio.runs.bundle, run)
    async with studio.only_one("serve"):
        await asyncio.to_thread(_key, studio)
        port = _free_port()
        arguments = [
            "serve",
            f"{RUNS_FOLDER}/{run}/model.assay",
            "--host",
            HOST,
            "--port",
            str(port),
            "--auth",
            "--keys",
            f"{STATE_FOLDER}/{KEYS_FOLDER}",
            "--keep-uncertain",
            UNCERTAIN_FOLDER,
            "--request-log",
            "none",
        ]
        examples = await asyncio.to_thread(studio.example_photos, run)
        arguments += [word for name in examples for word in ("--example", name)]
        return started(studio.start("serve", arguments, run=run, port=port, address=f"http://{HOST}:{port}"))


async def run_classes(request: Request) -> Response:
    """Return the classes of a run's classifier."""
    studio = studio_of(request)
    return JSONResponse({"classes": await asyncio.to_thread(studio.runs.classes, request.path_params["run"])})


async def start_rule(request: Request) -> Response:
    """Run a rule on a camera, stream or video."""
    studio = studio_of(request)
    values = await read_json(request)
    run = text_field(values, "run")
    classes = await asyncio.to_thread(studio.runs.classes, run)
    async with studio.only_one("watch"):
        try:
            confidence, seconds = float(text_field(values, "confidence")), float(text_field(values, "seconds"))
        except ValueError:
            raise UsageError("Give confidence and seconds as numbers") from None
        rule = CameraRule(
            text_field(values, "source"),
            text_field(values, "label"),
            confidence,
            seconds,
            text_field(values, "program", ""),
        )
        if rule.label not in classes:
            raise UsageError(f"The run {run} has no class {rule.label}")
        arguments = rule.arguments(studio.project.folder, f"{RUNS_FOLDER}/{run}/model.assay")
        return started(studio.start("watch", arguments, run=run, source=rule.source))


async def add_rule_video(request: Request) -> Response:
    """Store a video for a rule in the project; return its path there."""
    folder = studio_of(request).project.folder / VIDEO_FOLDER
    await asyncio.to_thread(lambda: folder.mkdir(exist_ok=True))
    path = await save_video(request.stream(), folder, request.query_params.get("name", ""))
    return JSONResponse({"source": f"./{VIDEO_FOLDER}/{path.name}"})


async def import_uncertain(request: Request) -> Response:
    """Copy the photos that the server was unsure of into the project."""
    studio = studio_of(request)
    return JSONResponse({"new": await asyncio.to_thread(studio.import_uncertain), "revision": studio.project.revision})


def _key(studio: Studio) -> str:
    """Return the API key of this project, which is created on first use."""
    folder = studio.project.state_folder / KEYS_FOLDER
    manager = KeyManager(folder)
    existing = [] if not (folder / KEYS_FILE).exists() else manager.list_keys()
    for key in existing:
        if key.client == _CLIENT and manager.state(key) == "valid":
            return manager.token(key)
    return manager.token(manager.create(_CLIENT, "gold", ("classify",)))


def _free_port() -> int:
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((HOST, port))
            except OSError:
                continue
            return port
    raise AssayError(f"No port from {_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1} is free")


USE_ROUTES: Final = (
    Route("/try", try_page),
    Route("/api/try", classify, methods=["POST"]),
    Route("/use", use_page),
    Route("/use/live", use_live),
    Route("/api/runs/{run}/classes", run_classes),
    Route("/api/export", start_export, methods=["POST"]),
    Route("/api/serve", start_server, methods=["POST"]),
    Route("/api/watch", start_rule, methods=["POST"]),
    Route("/api/watch/video", add_rule_video, methods=["POST"]),
    Route("/api/uncertain", import_uncertain, methods=["POST"]),
)
