"""The command `assay fetch`: text and JSON output."""

import functools
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from assay.cli.console import shell_command
from assay.cli.fetch import fetch
from assay.core.errors import AssayError, UsageError
from assay.data.fetch.registry import REGISTRY

app = typer.Typer()
app.command()(fetch)
RUN = CliRunner()


class SilentHandler(SimpleHTTPRequestHandler):
    """Serves a folder without logging."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Address of a zip with two classes of one photo each."""
    served = tmp_path / "served"
    served.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    with zipfile.ZipFile(served / "photos.zip", "w") as archive:
        for label in ("cats", "dogs"):
            archive.write(tmp_path / "1.png", f"photos/{label}/1.png")
    handler = functools.partial(SilentHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/photos.zip"
        server.shutdown()
        thread.join()


def test_fetch_from_a_url(address: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    ended = RUN.invoke(app, [address, "--to", str(folder)])
    assert ended.exit_code == 0
    assert ended.stdout.splitlines() == [f"{folder} is ready", f"next:     {shell_command('train', folder)}"]
    assert (folder / "cats" / "1.png").is_file()
    assert "already exists" in RUN.invoke(app, [address, "--to", str(folder)]).stdout


def test_json_output(address: str, tmp_path: Path) -> None:
    ended = RUN.invoke(app, [address, "--to", str(tmp_path / "mine"), "--json"])
    assert json.loads(ended.stdout) == {
        "folder": str(tmp_path / "mine"),
        "written": True,
        "licence": None,
        "citation": None,
        "homepage": None,
        "next": shell_command("train", tmp_path / "mine"),
    }


def test_named_data_set_prints_its_licence(tmp_path: Path) -> None:
    if REGISTRY["elpv"].installed() is None:
        pytest.skip("elpv-dataset is not installed")
    ended = RUN.invoke(app, ["elpv", "--to", str(tmp_path / "cells")])
    assert ended.exit_code == 0
    assert "CC BY-NC-SA 4.0" in ended.stdout
    assert f"assay train {tmp_path / 'cells'}/manifest.csv" in ended.stdout


def test_without_a_name_the_registry_is_listed() -> None:
    ended = RUN.invoke(app, [])
    assert [line.split()[0] for line in ended.stdout.splitlines()] == sorted(REGISTRY)
    result = json.loads(RUN.invoke(app, ["--json"]).stdout)
    assert {item["name"]: item["licence"] for item in result} == {name: item.licence for name, item in REGISTRY.items()}


def test_errors_are_raised_to_the_caller(tmp_path: Path) -> None:
    assert isinstance(RUN.invoke(app, ["cifar", "--to", str(tmp_path / "x")]).exception, UsageError)
    failed = RUN.invoke(app, ["http://127.0.0.1:1/x.zip", "--to", str(tmp_path / "x")])
    assert isinstance(failed.exception, AssayError)
    assert list(tmp_path.iterdir()) == []
