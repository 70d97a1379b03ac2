"""The start page over HTTP: projects are opened, created and changed; pages of another project are refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from studio_projects import paint
from studio_server import StudioServer, studio_server

from assay.studio.recent_projects import RecentProjects


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("start") / "home"
    for project, count in (("cups", 2), ("bowls", 3)):
        for number in range(count):
            paint(place / project / f"{number}.png", seed=number)
    return place


@pytest.fixture(scope="module")
def studio(home: Path) -> Iterator[StudioServer]:
    with studio_server(None, home.parent / "state", home) as running:
        yield running


def open_project(client: httpx.Client, folder: Path) -> str:
    answer = client.post("/api/projects/open", json={"folder": str(folder)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["project"])


def test_without_a_project_pages_lead_to_the_start_page(home: Path):
    with studio_server(None, home.parent / "other", home) as fresh, fresh.client() as client:
        html = {"accept": "text/html"}
        assert client.get("/", headers=html).headers["location"] == "/projects"
        assert client.get("/train", headers=html).headers["location"] == "/"
        missing = client.get("/absent", headers=html)
        assert (missing.status_code, "Back to the projects" in missing.text) == (404, True)
        assert client.get("/api/photos").status_code == 409
        assert client.get("/projects").status_code == 200
        assert json.loads(client.get("/events").text.removeprefix("data: ")) == {"project": None}


def test_a_project_is_opened_and_listed_as_recent(client: httpx.Client, home: Path):
    open_project(client, home / "cups")
    assert client.get("/").headers["location"] == "/photos"
    assert len(client.get("/api/photos").json()["photos"]) == 2
    page = client.get("/projects").text
    assert str(home / "cups") in page
    assert "Recent projects" in page
    assert 'href="/projects"' in client.get("/photos").text


def test_another_project_replaces_the_open_one(client: httpx.Client, home: Path):
    first = open_project(client, home / "cups")
    with client.stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["project"] == first
        second = open_project(client, home / "bowls")
        assert list(filter(None, lines)) == []  # the stream ends
    assert len(client.get("/api/photos").json()["photos"]) == 3
    old, new = ({"x-assay-project": key} for key in (first, second))
    body = {"action": "create", "name": "cup"}
    assert client.post("/api/classes", json=body, headers=old).status_code == 409
    assert client.post("/api/classes", json=body, headers=new).status_code == 200
    assert not (home / "cups" / "labels.csv").exists()
    # The lock of the first project is free again.
    with studio_server(home / "cups"):
        refused = client.post("/api/projects/open", json={"folder": str(home / "cups")})
        assert (refused.status_code, "another studio" in refused.json()["error"]) == (400, True)
    assert len(client.get("/api/photos").json()["photos"]) == 3


def test_a_project_is_created_and_forgotten(client: httpx.Client, home: Path):
    answer = client.post("/api/projects/create", json={"parent": str(home), "name": "new one"})
    assert answer.status_code == 200
    assert (home / "new one").is_dir()
    recent = RecentProjects(home.parent / "state" / "studio")
    assert recent.read()[0] == home / "new one"
    client.post("/api/projects/forget", json={"folder": str(home / "new one")})
    assert home / "new one" not in recent.read()
    assert (home / "new one").is_dir()


@pytest.mark.parametrize("at", ["/etc", "/proc", "../..", "\x00", "%00", "<script>", "/absent"])
def test_folders_elsewhere_are_not_listed(client: httpx.Client, at: str):
    page = client.get("/projects", params={"at": at})
    assert page.status_code == 200
    assert "passwd" not in page.text
    assert "<script>" not in page.text


def test_the_list_needs_the_token_and_this_origin(studio: StudioServer):
    with studio.client(token=False) as stranger:
        assert stranger.get("/projects").status_code == 403
    with studio.client() as client:
        body = {"folder": "/srv"}
        assert client.post("/api/projects/open", json=body, headers={"origin": "http://evil"}).status_code == 403


def test_a_studio_of_one_folder_opens_no_other(home: Path, tmp_path: Path):
    paint(tmp_path / "a.png")
    with studio_server(tmp_path) as single, single.client() as client:
        assert client.get("/projects").headers["location"] == "/photos"
        assert client.post("/api/projects/open", json={"folder": str(home / "cups")}).status_code == 400
        assert 'href="/projects"' not in client.get("/photos").text
