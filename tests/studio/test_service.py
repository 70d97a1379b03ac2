"""What a studio does besides its pages: photos of the server come back, classifiers stay loaded."""

import asyncio
import csv
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from studio_projects import paint

from assay.core.errors import UsageError
from assay.core.locks import try_lock
from assay.inference import Classifier
from assay.serving.request_log.uncertain_samples import UncertainSample
from assay.studio.app import create_app
from assay.studio.jobs import Job
from assay.studio.project import Project
from assay.studio.recent_projects import RecentProjects
from assay.studio.service import UNCERTAIN_FOLDER, Studio
from assay.studio.workspace import Workspace


@pytest.fixture
def studio(make_project: Callable[..., Project]) -> Iterator[Studio]:
    opened = Studio(make_project(3))
    yield opened
    opened.close()


def keep_uncertain(folder: Path, count: int) -> None:
    """Write what `assay serve --keep-uncertain` writes."""
    names = [f"{number:032x}.png" for number in range(count)]
    for number, name in enumerate(names):
        paint(folder / name, seed=50 + number)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, [item.name for item in dataclasses.fields(UncertainSample)])
        table.writeheader()
        rows = (UncertainSample(name, "cat", 0.4, "id", "2026-01-01T00:00:00.000+00:00", "m", "1") for name in names)
        table.writerows(map(dataclasses.asdict, rows))


def test_photos_that_the_server_was_unsure_of_come_back_unlabelled(studio: Studio):
    assert studio.uncertain_count() == 0
    keep_uncertain(studio.project.folder / UNCERTAIN_FOLDER, 2)
    studio.rescan()
    assert len(studio.project.photos) == 3  # the folder of the server is not the project's
    assert (studio.uncertain_count(), studio.import_uncertain()) == (2, 2)
    assert (studio.uncertain_count(), studio.import_uncertain()) == (0, 0)
    assert studio.project.counts() == (5, 5, 0, {})


def test_what_is_missing_for_a_training_is_a_sentence(studio: Studio):
    photos = list(studio.project.photos)
    assert studio.check_problem() == "Label photos first."
    studio.project.label(photos[:1], "a", studio.project.revision)
    assert studio.check_problem() is None
    assert studio.training_problem() == "Label photos of at least two classes first."
    studio.project.label(photos[1:], "b", studio.project.revision)
    assert studio.training_problem() is None


@pytest.mark.anyio
async def test_a_page_does_not_wait_for_heat_maps(
    trained_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    workspace = Workspace(RecentProjects(tmp_path / "recent"), choosable=False)
    studio = workspace.open(trained_project)
    explain, begun = Classifier.explain, []

    def slow(*arguments: Any, **options: Any) -> Any:
        begun.append(time.monotonic())
        time.sleep(0.2)
        return explain(*arguments, **options)

    monkeypatch.setattr(Classifier, "explain", slow)
    transport = httpx.ASGITransport(create_app(workspace))
    async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
        run = studio.runs.latest_finished()
        maps = [asyncio.create_task(client.get(f"/heat/{run}/{photo}")) for photo in list(studio.project.photos)[:12]]
        await asyncio.sleep(0.1)
        assert (await client.get("/try")).status_code == 200
        assert len(begun) < len(maps)
        answers = await asyncio.gather(*maps)
    assert {answer.headers["content-type"] for answer in answers} == {"image/png"}
    workspace.close()


def test_the_photos_compared_by_an_export_are_no_options_or_patterns(make_project: Callable[..., Project]):
    project = make_project(names=["-x.png", "a*.png", "[b].png", "c?.png", "plain.png"])
    studio = Studio(project)
    project.label(list(project.photos), "a", project.revision)
    assert studio.checked_photos() == ["plain.png"]
    studio.close()


@pytest.mark.anyio
async def test_a_damaged_report_is_said_and_its_classifier_can_be_served(trained_project: Path, tmp_path: Path):
    workspace = Workspace(RecentProjects(tmp_path / "recent"), choosable=False)
    studio = workspace.open(trained_project)
    for path in (trained_project / "runs").glob("run-1/evaluation/*/report.json"):
        path.write_text("{}")
    assert studio.example_photos("run-1")
    transport = httpx.ASGITransport(create_app(workspace))
    async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
        page = await client.get("/understand", headers={"accept": "text/html"})
        assert (page.status_code, "of another version of Assay" in page.text) == (200, True)
        cell = await client.get("/understand/run-1/cell/0/0")
        assert (cell.status_code, set(cell.json())) == (400, {"error"})
    workspace.close()


def test_a_classifier_is_loaded_once_and_an_unknown_run_refused(trained_project: Path):
    studio = Studio(Project.open(trained_project))
    first = studio.classifier("run-1")
    assert studio.classifier("run-1") is first
    assert first.predict(trained_project / "red-000.png").label in {"red", "blue"}
    with pytest.raises(UsageError):
        studio.classifier("../run-1")
    studio.close()


@pytest.mark.anyio
async def test_jobs_of_unknown_details_are_on_their_pages(trained_project: Path, tmp_path: Path):
    kinds = ("check", "train", "compare", "export", "serve", "watch", "collect")
    with ExitStack() as stack:
        for number, kind in enumerate(kinds, 1):
            folder = trained_project / ".studio" / "jobs" / f"{number}-{kind}"
            folder.mkdir(parents=True)
            (folder / "job.json").write_text("{")
            (folder / "lock").write_text(str(os.getpid()))
            assert try_lock(stack.enter_context((folder / "lock").open()))
        workspace = Workspace(RecentProjects(tmp_path / "recent"), choosable=False)
        studio = workspace.open(trained_project)
        assert [job.kind for job in studio.jobs.jobs if job.running] == list(kinds)
        transport = httpx.ASGITransport(create_app(workspace))
        async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
            for path, stops in (("/photos", ()), ("/check", (1,)), ("/train", (2,)), ("/use", (5, 6))):
                page = await client.get(path, headers={"accept": "text/html"})
                assert page.status_code == 200
                assert all(f"/api/jobs/{number}/stop" in page.text for number in stops)
        workspace.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "address", "body"),
    [
        ("serve", "/api/serve", {"run": "run-1"}),
        ("check", "/api/check", {"model": "run-1"}),
        ("train", "/api/train", {}),
        ("train", "/api/train/resume", {"run": "run-1"}),
        (
            "watch",
            "/api/watch",
            {"run": "run-1", "source": "0", "label": "red", "confidence": "0.5", "seconds": "1"},
        ),
    ],
)
async def test_of_several_requests_at_once_only_one_starts(
    trained_project: Path, monkeypatch: pytest.MonkeyPatch, kind: str, address: str, body: dict[str, str]
):
    workspace = Workspace(RecentProjects(trained_project.parent / "recent"), choosable=False)
    studio = workspace.open(trained_project)

    def start(kind: str, arguments: Sequence[str], **details: object) -> Job:
        folder = trained_project.parent / f"{len(studio.jobs.jobs) + 1}-{kind}"
        studio.jobs.jobs.append(Job(folder, kind, tuple(arguments), 0.0, details))
        return studio.jobs.jobs[-1]

    monkeypatch.setattr(studio.jobs, "start", start)
    transport = httpx.ASGITransport(create_app(workspace))
    async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
        answers = await asyncio.gather(*(client.post(address, json=body) for _ in range(4)))
    assert [job.kind for job in studio.jobs.jobs] == [kind]
    refused = [answer.json()["error"] for answer in answers if answer.status_code == 400]
    assert [answer.status_code for answer in answers].count(200) + len(refused) == 4
    assert all("is already running" in sentence for sentence in refused)
    assert len(refused) == (0 if kind == "check" else 3)
    workspace.close()
