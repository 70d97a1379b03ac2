"""A real studio over HTTP: who may use it, what it refuses, and how it survives a restart."""

import json
import re
import stat
import time
from pathlib import Path

import httpx
import pytest
from studio_projects import paint
from studio_server import StudioServer, studio_server

from assay.studio.security import new_token, stored_address

HOSTILE = "<img src=x onerror=alert(1)>.png"
_PAGES = ("/photos", "/check", "/train", "/understand", "/try", "/use")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("server") / "project"
    for number in range(6):
        paint(place / f"{number}.png", seed=number)
    paint(place / HOSTILE, seed=9)
    (place.parent / "secret.txt").write_text("secret")
    return place


def photos(client: httpx.Client) -> dict[str, str]:
    return {row[1]: row[0] for row in client.get("/api/photos").json()["photos"]}


def edit(client: httpx.Client, **values: object) -> httpx.Response:
    revision = client.get("/api/photos").json()["revision"]
    return client.post("/api/edit", json={"revision": revision, **values})


def test_the_token_in_the_address_becomes_a_cookie(studio: StudioServer):
    with studio.client(token=False) as client:
        assert client.get("/photos").status_code == 403
        assert client.get("/?token=wrong").status_code == 403
        answer = client.get(studio.address)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get("/photos").status_code == 200
        assert studio.token not in client.get("/photos").text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Host": "rebound.example:8321", "Origin": "http://rebound.example:8321"},
        {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Cookie": "assay-studio-1=x"},
    ],
    ids=["name", "name and port", "other page", "other port", "null", "no token"],
)
def test_forged_requests_are_refused(studio: StudioServer, headers: dict[str, str]):
    with studio.client(token="Cookie" not in headers) as client:
        for path in (*_PAGES, "/api/photos", "/events", "/assets/x/main.js", "/thumbnails/0"):
            assert client.get(path, headers=headers).status_code == 403, path
        for path in ("/api/edit", "/api/undo", "/api/upload?name=x.png", "/api/check", "/api/train", "/api/serve"):
            assert client.post(path, headers=headers, content=b"{}").status_code == 403, path


def test_every_page_has_a_strict_policy_and_escapes_names(client: httpx.Client):
    for path in _PAGES:
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert answer.status_code == 200
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "<img src=x" not in answer.text
        assert " style=" not in answer.text
        assert "<script>" not in answer.text
    assert HOSTILE in photos(client)


@pytest.mark.parametrize(
    "path",
    [
        "/thumbnails/..%2f..%2fsecret.txt",
        "/thumbnails/../../secret.txt",
        "/previews/%2fetc%2fpasswd",
        "/assets/x/..%2f..%2fapp.py",
        "/understand/..%2f..%2f/report",
        "/understand/%2fetc/report",
        "/heat/..%2f..%2fsecret/0",
        "/understand?run=../..",
    ],
)
def test_paths_lead_nowhere(client: httpx.Client, path: str):
    answer = client.get(path)
    assert answer.status_code in {400, 404}
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("path", "message", "back"),
    [
        ("/absent", "There is no page at this address", 'href="/"'),
        ("/train/absent", "There is no page at this address", 'href="/train"'),
        ("/understand?run=<b>gone", "There is no run &lt;b&gt;gone", 'href="/understand"'),
        ("/understand/gone/report", "There is no run gone", 'href="/understand"'),
        ("/understand/gone/cell/0/0", "There is no run gone", 'href="/understand"'),
        ("/heat/gone/0", "This photo is not there any more", 'href="/"'),
        ("/previews/0", "This photo is not there any more", 'href="/"'),
        ("/thumbnails/0", "This photo is not there any more", 'href="/"'),
        ("/assets/x/absent.js", "There is no page at this address", 'href="/"'),
    ],
)
def test_what_is_missing_is_a_page_for_people_and_short_for_programs(
    client: httpx.Client, path: str, message: str, back: str
):
    html = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = client.get(path, headers=html)
    assert answer.status_code == 404
    assert message in answer.text
    assert back in answer.text
    assert 'aria-label="Steps"' in answer.text
    for headers in ({}, {**html, "hx-request": "true"}, {**html, "x-assay-project": _project(client)}):
        short = client.get(path, headers=headers)
        assert (short.status_code, set(short.json())) == (404, {"error"})


def _project(client: httpx.Client) -> str:
    found = re.search(r'data-project="(\w+)"', client.get("/photos").text)
    assert found is not None
    return found[1]


def test_a_method_that_an_address_does_not_have_is_refused(client: httpx.Client):
    answer = client.get("/api/edit", headers={"accept": "text/html"})
    assert (answer.status_code, "Method Not Allowed" in answer.text) == (405, True)
    assert client.get("/api/edit").json() == {"error": "Method Not Allowed"}


def test_edits_carry_the_revision_of_the_page(client: httpx.Client):
    names = photos(client)
    seen = client.get("/api/photos").json()["revision"]
    first = client.post(
        "/api/edit", json={"revision": seen, "action": "label", "photos": [names["0.png"]], "label": "a"}
    )
    assert first.json()["changed"] == 1
    late = client.post(
        "/api/edit", json={"revision": seen, "action": "label", "photos": [names["0.png"]], "label": "b"}
    )
    assert (late.status_code, "another window" in late.json()["error"]) == (409, True)
    (row,) = client.get(f"/api/photos?since={seen}").json()["photos"]
    assert row[1:4:2] == ["0.png", "a"]
    assert client.post("/api/undo", json={}).json()["undone"] == "Labelled 1 photo a"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"revision": -1}',
        b'{"revision": 0, "action": "label", "photos": "x"}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_malformed_requests_are_a_sentence(client: httpx.Client, body: bytes):
    for path in ("/api/edit", "/api/classes", "/api/train", "/api/export", "/api/serve", "/api/compare"):
        answer = client.post(path, content=body)
        assert answer.status_code == 400, path
        assert set(answer.json()) == {"error"}


def test_a_request_that_is_too_long_is_refused(client: httpx.Client):
    assert client.post("/api/edit", content=b" " * (9 << 20)).status_code == 400


def test_uploads_are_stored_with_their_label(client: httpx.Client, folder: Path, tmp_path: Path):
    data = paint(tmp_path / "new.png", seed=77).read_bytes()
    answer = client.post("/api/upload", params={"name": "../../up.png", "label": "fresh"}, content=data)
    assert answer.json()["new"] is True
    assert (folder / "photos" / "up.png").read_bytes() == data
    assert not (folder.parent / "up.png").exists()
    rows = {row[1]: row[3] for row in client.get("/api/photos").json()["photos"]}
    assert rows["photos/up.png"] == "fresh"
    assert client.post("/api/upload?name=x.png", content=b"no photo").status_code == 400
    client.post("/api/upload", params={"name": "1.png", "folder": "../cups/.."}, content=data)
    client.post("/api/upload", params={"name": "1.png", "folder": "cups"}, content=data)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("1.png")) == [
        "1.png",
        "photos/cups/1.png",
        "photos/photo/1.png",
    ]
    shot = client.post("/api/shot?label=fresh", content=data).json()
    again = client.post("/api/shot?label=fresh", content=data).json()
    assert (shot["stored"], shot["near_copy"], again["stored"], again["near_copy"]) == (True, False, False, True)


@pytest.mark.parametrize("address", ["/api/upload?name=late.png", "/api/shot?x=1", "/api/video?name=late.avi"])
def test_nothing_is_stored_for_a_class_with_an_invalid_name(client: httpx.Client, folder: Path, address: str):
    def stored() -> list[Path]:
        return sorted(path for name in ("photos", ".studio/videos") for path in (folder / name).rglob("*"))

    before = stored()
    answer = client.post(f"{address}&label=a%E2%80%AEb", content=(folder / "1.png").read_bytes())
    assert (answer.status_code, "control characters" in answer.json()["error"]) == (400, True)
    assert stored() == before


def test_thumbnails_are_small_jpegs_that_may_be_cached(client: httpx.Client, folder: Path):
    names = photos(client)
    answer = client.get(f"/thumbnails/{names['1.png']}")
    assert answer.content[:2] == b"\xff\xd8"
    assert "immutable" in answer.headers["cache-control"]
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    client.post("/api/rescan", json={})
    assert client.get(f"/thumbnails/{photos(client)['broken.png']}").status_code == 400
    (folder / "broken.png").unlink()
    client.post("/api/rescan", json={})


def test_the_stream_tells_of_changes(studio: StudioServer):
    with studio.client() as client, client.stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        first = json.loads(next(lines).removeprefix("data: "))
        with studio.client() as other:
            other.post("/api/classes", json={"action": "create", "name": "stream"})
        second = next(json.loads(line.removeprefix("data: ")) for line in lines if line)
        assert second["photos"] == first["photos"] + 1


def test_a_check_runs_and_its_findings_are_resolved(client: httpx.Client):
    names = photos(client)
    for label, chosen in (("a", ("0.png", "1.png", "2.png")), ("b", ("3.png", "4.png", "5.png"))):
        edit(client, action="label", photos=[names[name] for name in chosen], label=label)
    assert client.post("/api/check", json={}).status_code == 200
    end = time.monotonic() + 120
    while "labelled photos of" not in (page := client.get("/check/live").text):
        assert time.monotonic() < end
        time.sleep(0.2)
    assert "assay check labels.csv --json --fail-on never" in page
    assert "small classes" in page


def test_address_and_token_are_kept_for_this_user_only(folder: Path, studio: StudioServer):
    path = folder / ".studio" / "address.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["token"] == studio.token


def test_a_restart_resumes(tmp_path: Path):
    paint(tmp_path / "a.png")
    with studio_server(tmp_path) as first:
        pass
    with studio_server(tmp_path) as second:
        assert (second.port, second.token) == (first.port, first.token)
        with first.client() as client:  # of a page that is still open
            assert client.get("/photos").status_code == 200


@pytest.mark.parametrize(
    "values",
    [
        {"port": 99999999},
        {"port": 65536},
        {"port": -5},
        {"port": 0},
        {"port": True},
        {"port": "8321"},
        {"token": "a" * 31 + "é"},
        {"token": "a" * 31 + " "},
        {"token": "a" * 32 + "\n"},
        {"token": "a" * 23},
        {"token": 7},
    ],
    ids=str,
)
def test_a_damaged_address_is_not_used(tmp_path: Path, values: dict[str, object]):
    whole = {"token": new_token(), "port": 8321}
    path = tmp_path / "address.json"
    path.write_text(json.dumps(whole))
    assert stored_address(tmp_path) == (whole["token"], 8321)
    path.write_text(json.dumps({**whole, **values}))
    assert stored_address(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 4000, '{"token": "x"}'])
def test_an_address_file_of_something_else_is_not_used(tmp_path: Path, text: str):
    (tmp_path / "address.json").write_text(text)
    assert stored_address(tmp_path) is None
