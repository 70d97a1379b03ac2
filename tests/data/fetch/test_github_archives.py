"""Data sets of GitHub repositories: downloaded from a local server, verified by the content of the photos."""

import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from http_server import running

from assay.core.errors import AssayError
from assay.core.progress import no_progress
from assay.data.fetch.fetcher import SOURCE_FILE, fetch_dataset
from assay.data.fetch.github_archives import content_sha256, github_archive_url, write_class_folders
from assay.data.fetch.registry import REGISTRY, RegisteredDataset

ARCHIVES = {
    "bottles": ("bottles.tar", "docs/samples/{label}"),
    "button-cells": ("button_cells.tar", "button_cells/{label}"),
    "magnetic-tiles": ("magnetic_tiles.tar", "MT_{label}/Imgs"),
}
"""File in the folder `ASSAY_DATA`, and the folder of a class in the publisher's repository."""


class Handler(BaseHTTPRequestHandler):
    """Answers every request with the server's `body`."""

    def do_GET(self) -> None:
        body: bytes = self.server.body  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with running(HTTPServer(("127.0.0.1", 0), Handler)) as started:
        yield started


def served(server: HTTPServer, name: str, body: bytes) -> RegisteredDataset:
    """The registered data set, with its archive on the local server."""
    server.body = body  # type: ignore[attr-defined]
    dataset = REGISTRY[name]
    (remote,) = dataset.files
    return replace(dataset, files=(replace(remote, url=f"http://127.0.0.1:{server.server_port}/HEAD.zip"),))


def repository(files: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The archive of a repository that also holds other files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in ({"README.md": b"# photos"} | files).items():
            archive.writestr(f"name-HEAD/{name}", data)
    return stream.getvalue()


def published(name: str) -> dict[str, bytes]:
    """The publisher's photos by their path in the repository."""
    file, place = ARCHIVES[name]
    path = Path(os.environ.get("ASSAY_DATA", "../shared/data")) / file
    if not path.is_file():
        if os.environ.get("ASSAY_REQUIRE_DATA"):
            pytest.fail(f"{path} is missing")
        pytest.skip(f"{path} is missing")
    found = {}
    with tarfile.open(path) as packed:
        for member in packed.getmembers():
            if member.isfile():
                _, label, photo = member.name.split("/")
                stream = packed.extractfile(member)
                assert stream is not None
                found[f"{place.format(label=label)}/{photo}"] = stream.read()
    return found


@pytest.mark.parametrize("name", ["bottles", "button-cells"])
def test_published_photos_are_accepted_however_they_are_compressed(
    server: HTTPServer, tmp_path: Path, name: str
) -> None:
    photos = published(name) | {"button_cells/background/1.jpeg": b"not in the data set"}
    for number, compression in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)):
        folder = tmp_path / str(number)
        dataset = served(server, name, repository(photos, compression=compression))
        assert fetch_dataset(dataset, folder).written
        assert {path.name for path in folder.iterdir() if path.is_dir()} == set(_labels(name))
        note = json.loads((folder / SOURCE_FILE).read_text())
        assert note["licence"] == dataset.licence
        assert note["content_sha256"] == dataset.content_sha256
        (folder / SOURCE_FILE).unlink()
        assert content_sha256(folder) == dataset.content_sha256


@pytest.mark.slow
def test_magnetic_tiles_leave_out_the_masks(server: HTTPServer, tmp_path: Path) -> None:
    photos = published("magnetic-tiles")
    masks = {name.replace(".jpg", ".png"): b"mask" for name in photos}
    folder = fetch_dataset(served(server, "magnetic-tiles", repository(photos | masks)), tmp_path / "tiles").folder
    assert len(list(folder.rglob("*.jpg"))) == 1344
    assert not list(folder.rglob("*.png"))


def _labels(name: str) -> tuple[str, ...]:
    return {"bottles": ("closed", "open"), "button-cells": ("back_view", "side_view", "top_view")}[name]


def test_changed_photos_are_refused_and_nothing_is_left(server: HTTPServer, tmp_path: Path) -> None:
    photos = {f"docs/samples/{label}/1.jpg": b"another photo" for label in ("open", "closed")}
    with pytest.raises(AssayError, match="the publisher has changed them"):
        fetch_dataset(served(server, "bottles", repository(photos)), tmp_path / "bottles")
    assert not (tmp_path / "bottles").exists()


def test_archive_without_the_folder_is_refused(server: HTTPServer, tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="has no folder docs/samples/closed"):
        fetch_dataset(served(server, "bottles", repository({})), tmp_path / "bottles")


def test_digest_covers_paths_and_contents_in_sorted_order(tmp_path: Path) -> None:
    for name, data in (("b/1.jpg", b"one"), ("a/2.jpg", b"two")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(data)
    lines = f"a/2.jpg\n{hashlib.sha256(b'two').hexdigest()}\nb/1.jpg\n{hashlib.sha256(b'one').hexdigest()}\n"
    assert content_sha256(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()


def test_only_jpeg_files_of_the_named_folders_are_copied(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(repository({"x/1.JPG": b"1", "x/1.png": b"2", "y/3.jpg": b"3", "z/4.jpg": b"4"}))
    folder = tmp_path / "work" / "whole"
    folder.mkdir(parents=True)
    wanted = hashlib.sha256(
        f"one/1.JPG\n{hashlib.sha256(b'1').hexdigest()}\ntwo/3.jpg\n{hashlib.sha256(b'3').hexdigest()}\n".encode()
    ).hexdigest()
    write_class_folders(archive, {"one": "x", "two": "y"}, wanted, folder, no_progress)
    assert sorted(path.name for path in folder.rglob("*.*")) == ["1.JPG", "3.jpg"]


def test_archive_address_is_that_of_the_default_branch() -> None:
    assert github_archive_url("owner/name") == "https://github.com/owner/name/archive/HEAD.zip"
