"""Routes of the web pages: public where they contain no data, protected where they show or write data."""

import csv
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from assay.data import read_manifest
from assay.serving.auth.keys import KeyManager

# Answers of this model are never sure enough.
DOUBT = {"confidence": 0.99999}


class Site(NamedTuple):
    """A server, and the folder of the photos it was unsure of."""

    server: Any
    kept: Path
    keys: dict[str, str]


@pytest.fixture(scope="module")
def with_keys(serve, make_bundle, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A server that requires keys."""
    folder = tmp_path_factory.mktemp("guarded")
    manager = KeyManager(folder / "keys")
    keys = {
        scope: manager.token(manager.create(f"who may {scope}", "gold", ("classify", scope)))
        for scope in ("classify", "admin")
    }
    bundle = make_bundle(thresholds=DOUBT)
    server = serve(bundle, "--keys", folder / "keys", "--keep-uncertain", folder / "kept", lifecycle__drain_delay=0)
    return Site(server, folder / "kept", keys)


@pytest.fixture(scope="module")
def without_keys(serve, make_bundle, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A server without keys, on this machine."""
    kept = tmp_path_factory.mktemp("local") / "kept"
    return Site(serve(make_bundle(thresholds=DOUBT), "--keep-uncertain", kept, lifecycle__drain_delay=0), kept, {})


def _assets_version(client: Any) -> str:
    found = re.search(r'src="web/([0-9a-f]{16})/main\.js"', client.get("/").text)
    assert found is not None
    return found[1]


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_pages_need_no_key_and_have_a_content_security_policy(with_keys: Site):
    with with_keys.server.client() as client:
        version = _assets_version(client)
        for path in ("/", "/relabel", f"/web/{version}/main.js", f"/web/{version}/page.css"):
            answer = client.get(path)
            policy = answer.headers["content-security-policy"]
            assert answer.status_code == 200
            assert "script-src 'self'; style-src 'self'" in policy
            assert "unsafe" not in policy
            again = client.get(path, headers={"if-none-match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert client.get("/web/../settings.py").status_code == 404
        assert client.get("/web/none.js").json() == {"error": "Not Found"}
        assert client.get(f"/web/{version}/none.js").json() == {"error": "Not Found"}


def test_assets_are_immutable_and_pages_are_revalidated(with_keys: Site):
    with with_keys.server.client() as client:
        version = _assets_version(client)
        asset = client.get(f"/web/{version}/main.js")
        assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
        for path in ("/", "/relabel", "/web/0123456789abcdef/main.js"):
            assert client.get(path).headers["cache-control"] == "no-cache"
        assert client.get("/web/0123456789abcdef/main.js").content == asset.content


def test_data_routes_need_a_key_with_the_scope(with_keys: Site):
    with with_keys.server.client() as client:
        requested: list[tuple[str, str]] = [
            ("GET", "/relabel/photos"),
            ("GET", "/relabel/photos/0"),
            ("PUT", "/relabel/labels/0"),
            ("DELETE", "/relabel/labels/0"),
        ]
        for method, path in requested:
            assert client.request(method, path).status_code == 401, path
            weak = client.request(method, path, headers=_bearer(with_keys.keys["classify"]))
            assert weak.status_code == 403, path
        for path in ("/web/card", "/web/examples", "/web/example?number=0"):
            assert client.get(path).status_code == 401, path
        assert client.get("/web/examples", headers=_bearer(with_keys.keys["classify"])).json() == {"examples": []}
        assert client.get("/web/card", headers=_bearer(with_keys.keys["classify"])).text.startswith("# colours")
        answer = client.get("/relabel/photos", headers=_bearer(with_keys.keys["admin"]))
        assert answer.json()["classes"] == ["red", "green", "blue"]


def test_without_keys_only_the_own_page_can_label(without_keys: Site):
    host = without_keys.server.url
    with without_keys.server.client() as client:
        status = [
            client.get("/relabel/photos", headers=headers).status_code
            for headers in (
                {},
                {"Origin": host, "Sec-Fetch-Site": "same-origin"},
                {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
                {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
                {"Host": "elsewhere.example"},
                {"X-Forwarded-For": "203.0.113.9"},
            )
        ]
    assert status == [200, 200, 403, 403, 403, 403]


def test_uncertain_photos_are_labelled_for_training(
    without_keys: Site, painted: Callable[..., bytes], eventually: Callable[..., None]
):
    with without_keys.server.client() as client:
        for number in range(2):
            assert client.post("/classify", files={"image": painted(kind="PNG", number=number)}).status_code == 200

        def photos() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = client.get("/relabel/photos").json()["photos"]
            return found

        eventually(lambda: len(photos()) == 2)
        first, second = photos()
        shown = client.get(f"/relabel/photos/{first['id']}")
        assert shown.headers["content-type"] == "image/jpeg"
        assert shown.content.startswith(b"\xff\xd8")
        assert (first["kind"], first["label"], first["given"]) == ("uncertain", "red", None)

        for photo, label in ((first, "green"), (second, "blue")):
            assert client.put(f"/relabel/labels/{photo['id']}", json={"label": label}).json() == {"label": label}
        assert [item["given"] for item in photos()] == ["green", "blue"]
        assert client.delete(f"/relabel/labels/{second['id']}").json() == {"label": None}

        for body, status in ((b'{"label": "cat"}', 400), (b"[]", 400), (b"x" * 5000, 400)):
            assert client.put(f"/relabel/labels/{second['id']}", content=body).status_code == status
        assert client.put("/relabel/labels/0", json={"label": "red"}).status_code == 404
    (sample,) = read_manifest(without_keys.kept / "labels.csv").samples
    assert (sample.label, sample.path.parent) == ("green", without_keys.kept / "photos")


def test_label_issues_merged_into_the_data_set(serve, make_bundle, colours: Path, tmp_path: Path):
    manifest, suspects = tmp_path / "manifest.csv", tmp_path / "label_issues.csv"
    photos = [colours / "red" / "000.png", colours / "red" / "001.png"]
    manifest.write_text("path,label\n" + "".join(f"{item},red\n" for item in photos), encoding="utf-8")
    suspects.write_text(f"path,label,suggested\n{photos[0]},red,blue\n", encoding="utf-8")
    labels = tmp_path / "out" / "labels.csv"
    server = serve(
        make_bundle(),
        "--no-auth",
        "--suspects",
        suspects,
        "--data",
        manifest,
        "--labels",
        labels,
        lifecycle__drain_delay=0,
    )
    with server.client() as client:
        (photo,) = client.get("/relabel/photos").json()["photos"]
        assert (photo["kind"], photo["note"]) == ("suspect", "blue?")
        client.put(f"/relabel/labels/{photo['id']}", json={"label": "blue"})
    with (labels.parent / "relabelled.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["label"] for row in csv.DictReader(stream)] == ["blue", "red"]


def test_pages_can_be_disabled(serve, make_bundle):
    with serve(make_bundle(), "--no-web", lifecycle__drain_delay=0).client() as client:
        assert [client.get(path).status_code for path in ("/", "/relabel", "/web/0123456789abcdef/main.js")] == [
            404
        ] * 3
        assert client.get("/health").status_code == 200


def test_invalid_file_raises(make_bundle, tmp_path: Path):
    (tmp_path / "label_issues.csv").write_text("a,b\n", encoding="utf-8")
    command = [sys.executable, "-m", "assay", "serve", "--port", "0", "--no-auth", make_bundle()]
    command += ["--suspects", tmp_path / "label_issues.csv"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert "label_issues.csv has no column path or label" in ended.stderr
    assert "Traceback" not in ended.stderr
