"""Routes of the steps Check, Train and Understand, and of all jobs."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from assay.core.errors import AssayError, UsageError
from assay.studio.accuracy import search_note, search_photos, search_score, search_sentence
from assay.studio.comparison import comparison_view
from assay.studio.errors import NotFoundError
from assay.studio.findings import cards_by_severity, finding_cards, photos_to_leave_out
from assay.studio.http import fragment, int_field, page, path_int, read_json, started, studio_of, text_field
from assay.studio.jobs import Job
from assay.studio.labels import LABELS_FILE
from assay.studio.recipe_form import recipe_groups, training_arguments
from assay.studio.runs import RUNS_FOLDER, cell_photos, matrix_rows, threshold_curve
from assay.studio.security import REPORT_POLICY
from assay.studio.service import RunsAlreadyError, Studio
from assay.studio.training_view import is_search_over, training_view
from assay.studio.understanding import mistake_cards, photos_used, report_photo, suspects

_MAX_CELL_PHOTOS: Final = 200
_PAGE: Final = "page-"
_START_BUTTONS: Final = ("train", "compare", "serve", "export", "watch")
"""Kinds of jobs whose button is a part of its own; that of a check is in the part with the findings."""


async def check_page(request: Request) -> Response:
    """Show the findings of the last check."""
    return page("check.html.j2", request, "check", **await asyncio.to_thread(_check_values, request))


async def check_live(request: Request) -> Response:
    """Return the part of the page that changes while a check runs."""
    return fragment("check_live.html.j2", request, **await asyncio.to_thread(_check_values, request))


def _check_values(request: Request) -> dict[str, Any]:
    studio = studio_of(request)
    chosen = int_field(request.query_params, "finding") if "finding" in request.query_params else None
    pages = _pages(request)
    job = studio.jobs.latest("check")
    report = None if job is None or job.running else job.result()
    cards = [] if report is None else finding_cards(report, studio.project.by_name(), pages)
    first = next((card.index for card in cards if not card.resolved), None)
    stale = job is not None and job.details.get("revision") != studio.project.revision
    return {
        "job": job,
        "report": report,
        "cards": cards,
        "sections": cards_by_severity(cards),
        "opened": first if chosen is None else chosen,
        "query": f"?{request.url.query}" if pages or chosen is not None else "",
        "stale": stale,
        "problem": studio.check_problem(),
        "model": studio.runs.for_labels(studio.project.counts().classes),
    }


def _pages(request: Request) -> dict[int, int]:
    """Return which page of a finding is shown, by its index: `page-3=2` is the second page of finding 3."""
    found = (name.removeprefix(_PAGE) for name in request.query_params if name.startswith(_PAGE))
    return {int_field({"finding": index}, "finding"): int_field(request.query_params, _PAGE + index) for index in found}


async def start_check(request: Request) -> Response:
    """Start a check."""
    studio = studio_of(request)
    values = await read_json(request)
    with suppress(RunsAlreadyError):
        async with studio.only_one("check"):
            _require(studio.check_problem())
            arguments = ["check", LABELS_FILE, "--json", "--fail-on", "never"]
            if model := text_field(values, "model", ""):
                source = await asyncio.to_thread(studio.runs.label_check_source, model)
                arguments += ["--model", source.relative_to(studio.project.folder).as_posix()]
            studio.start("check", arguments, revision=studio.project.revision)
    return JSONResponse({"revision": studio.project.revision})


async def resolve_finding(request: Request) -> Response:
    """Leave out the photos that the action of a card, or of one of its groups, is about."""
    studio = studio_of(request)
    values = await read_json(request)
    job = studio.jobs.find(path_int(request, "job"))
    report = None if job is None else await asyncio.to_thread(job.result)
    if report is None:
        raise NotFoundError("This check is not there any more; check again")
    group = int_field(values, "group") if "group" in values else None
    try:
        photos = photos_to_leave_out(report, path_int(request, "finding"), studio.project.by_name(), group)
    except LookupError:
        raise NotFoundError("There is no such finding; check again") from None
    changed = await asyncio.to_thread(studio.project.leave_out, photos, int_field(values, "revision"))
    return JSONResponse({"revision": studio.project.revision, "changed": changed})


async def train_page(request: Request) -> Response:
    """Show the form, the training that runs, and the list of runs."""
    studio = studio_of(request)
    values = await asyncio.to_thread(_train_values, studio)
    target = request.query_params.get("correct", "")
    return page("train.html.j2", request, "train", groups=recipe_groups(), target=target, **values)


async def train_live(request: Request) -> Response:
    """Return the part of the page that changes during a training."""
    return fragment("train_live.html.j2", request, **await asyncio.to_thread(_train_values, studio_of(request)))


def _train_values(studio: Studio) -> dict[str, Any]:
    job = studio.jobs.latest("train")
    compare = studio.jobs.latest("compare")
    comparison = None if compare is None or compare.running else compare.result()
    runs = studio.runs.summaries()
    return {
        "job": job,
        "view": None if job is None else training_view(job),
        "search_score": search_score,
        "search_photos": search_photos,
        "search_note": search_note,
        "runs": runs,
        "commands": {str(item.details.get("run")): item.command for item in studio.jobs.jobs if item.kind == "train"},
        "compare": compare,
        "comparison": None if comparison is None else comparison_view(comparison, runs),
        "stale": compare is not None and compare.details.get("revision") != studio.project.revision,
    }


async def start_training(request: Request) -> Response:
    """Start a training."""
    studio = studio_of(request)
    values = await read_json(request)
    async with studio.only_one("train"):
        _require(studio.training_problem())
        arguments = ["train", LABELS_FILE, *training_arguments(values)]
        if (earlier := studio.runs.latest_split()) is not None:
            # The same photos are held out, so that the runs can be compared.
            arguments += ["--keep-splits", f"{RUNS_FOLDER}/{earlier}"]
        name = studio.runs.new_name([str(job.details.get("run")) for job in studio.jobs.jobs if job.running])
        arguments += ["--run", f"{RUNS_FOLDER}/{name}", "--json"]
        return started(studio.start("train", arguments, run=name, revision=studio.project.revision))


async def resume_training(request: Request) -> Response:
    """Continue a training that was interrupted."""
    studio = studio_of(request)
    run = text_field(await read_json(request), "run")
    await asyncio.to_thread(studio.runs.path, run)
    async with studio.only_one("train"):
        return started(studio.start("train", ["train", "--resume", f"{RUNS_FOLDER}/{run}", "--json"], run=run))


async def compare_runs(request: Request) -> Response:
    """Compare runs on the photos that all of them were evaluated on, with the present labels."""
    studio = studio_of(request)
    values = await read_json(request)
    chosen = values.get("runs", [])
    chosen = [chosen] if isinstance(chosen, str) else chosen
    names = [name for name in studio.runs.names() if isinstance(chosen, list) and name in chosen]
    if len(names) < 2:
        raise UsageError("Choose two or more finished runs to compare")
    arguments = ["compare", *(f"{RUNS_FOLDER}/{name}" for name in names), "--labels", LABELS_FILE, "--json"]
    async with studio.only_one("compare"):
        studio.start("compare", arguments, runs=names, revision=studio.project.revision)
    return JSONResponse({"runs": names})


async def stop_job(request: Request) -> Response:
    """Ask a job to stop; with `keep_best` only a search for better candidates, not the evaluation of the best."""
    studio = studio_of(request)
    job = _job(request, studio)
    await asyncio.to_thread(studio.jobs.refresh)
    if not (await read_json(request)).get("keep_best") or not is_search_over(job):
        await asyncio.to_thread(job.stop)
    studio.note_job_change()
    return JSONResponse({"job": job.number})


async def remove_job(request: Request) -> Response:
    """Remove a job that has ended, so that its page does not show it any more."""
    studio = studio_of(request)
    job = _job(request, studio)
    await asyncio.to_thread(studio.jobs.remove, job)
    studio.note_job_change()
    return JSONResponse({"job": job.number})


def _job(request: Request, studio: Studio) -> Job:
    job = studio.jobs.find(path_int(request, "job"))
    if job is None:
        raise NotFoundError("There is no such job")
    return job


async def understand_page(request: Request) -> Response:
    """Show the report of a run."""
    studio = studio_of(request)
    name = request.query_params.get("run") or await asyncio.to_thread(studio.runs.latest_finished)
    values: dict[str, Any] = {
        "runs": await asyncio.to_thread(studio.runs.summaries),
        "run": name,
        "report": None,
        "problem": "",
    }
    if name is not None:
        values |= await asyncio.to_thread(_report_values, studio, name)
    return page("understand.html.j2", request, "understand", **values)


def _report_values(studio: Studio, name: str) -> dict[str, Any]:
    try:
        report = studio.runs.report(name)
    except NotFoundError:
        raise
    except AssayError as error:  # the page offers the other runs
        return {"report": None, "problem": str(error)}
    if report is None:
        return {"report": None}
    classes, rows = matrix_rows(report)
    photos = studio.project.by_name()
    cross_validated = studio.runs.is_cross_validated(name)
    candidates = studio.runs.candidates(name)
    return {
        "report": report,
        "classes": classes,
        "matrix": rows,
        "used": photos_used(report, cross_validated=cross_validated),
        "searched": search_sentence(report, candidates, cross_validated=cross_validated),
        "mistakes": mistake_cards(report, photos),
        "suspects": suspects(report, photos),
    }


async def cell(request: Request) -> Response:
    """Return the photos in a cell of the confusion matrix."""
    studio = studio_of(request)
    report = await asyncio.to_thread(studio.runs.report, request.path_params["run"])
    actual, predicted = path_int(request, "actual"), path_int(request, "predicted")
    if report is None or max(actual, predicted) >= len(report["confusion"]["classes"]):
        raise NotFoundError("There is no such cell")
    names = studio.project.by_name()
    found = cell_photos(report, actual, predicted)
    photos = [(report_photo(name, names), confidence) for name, confidence in found[:_MAX_CELL_PHOTOS]]
    return fragment(
        "cell.html.j2",
        request,
        run=request.path_params["run"],
        photos=photos,
        more=len(found) - len(photos),
        label=report["confusion"]["classes"][actual],
        predicted=report["confusion"]["classes"][predicted],
    )


async def thresholds(request: Request) -> Response:
    """Return precision and coverage over the confidence."""
    report = await asyncio.to_thread(studio_of(request).runs.report, request.path_params["run"])
    if report is None:
        raise NotFoundError("This run has no report yet")
    return JSONResponse(
        {**threshold_curve(report), "total": len(report["photos"]["ids"]), "used": report["abstention"]["threshold"]}
    )


async def full_report(request: Request) -> Response:
    """Return the page of the report."""
    report = await asyncio.to_thread(studio_of(request).runs.report, request.path_params["run"])
    if report is None:
        raise NotFoundError("This run has no report yet")
    path = Path(report["folder"]) / "report.html"
    if not path.is_file():
        raise NotFoundError(f"{path} is not there any more")
    return FileResponse(path, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})


async def heat_map(request: Request) -> Response:
    """Return a photo with the evidence for the class that was predicted."""
    studio = studio_of(request)
    photo = studio.project.find(request.path_params["photo"])

    def explain() -> bytes:
        classifier = studio.classifier(request.path_params["run"])
        return classifier.explain(studio.project.path(photo)).png(384)

    # One at a time: all pages share a few threads, and a page of mistakes asks for many heat maps at once.
    async with studio.explaining:
        if await request.is_disconnected():
            return Response(status_code=204)
        return Response(await asyncio.to_thread(explain), media_type="image/png")


async def start_button(request: Request) -> Response:
    """Return a button that starts a job; disabled, with the reason, while none can be started."""
    kind = request.path_params["kind"]
    if kind not in _START_BUTTONS:
        raise NotFoundError(f"There is no job {kind}")
    return await asyncio.to_thread(fragment, "start_button.html.j2", request, kind=kind)


async def jobs_live(request: Request) -> Response:
    """Return what runs and belongs to another page than `here`."""
    return fragment("jobs_live.html.j2", request, here=request.query_params.get("here", ""))


def _require(problem: str | None) -> None:
    if problem is not None:
        raise UsageError(problem)


WORK_ROUTES: Final = (
    Route("/check", check_page),
    Route("/check/live", check_live),
    Route("/api/check", start_check, methods=["POST"]),
    Route("/api/findings/{job:int}/{finding:int}", resolve_finding, methods=["POST"]),
    Route("/train", train_page),
    Route("/train/live", train_live),
    Route("/api/train", start_training, methods=["POST"]),
    Route("/api/train/resume", resume_training, methods=["POST"]),
    Route("/api/compare", compare_runs, methods=["POST"]),
    Route("/api/jobs/{job:int}/stop", stop_job, methods=["POST"]),
    Route("/api/jobs/{job:int}/remove", remove_job, methods=["POST"]),
    Route("/start/{kind}", start_button),
    Route("/jobs/live", jobs_live),
    Route("/understand", understand_page),
    Route("/understand/{run}/cell/{actual:int}/{predicted:int}", cell),
    Route("/understand/{run}/thresholds", thresholds),
    Route("/understand/{run}/report", full_report),
    Route("/heat/{run}/{photo}", heat_map),
)
