"""Accepted image formats: those of the training data, or as set."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from assay.bundle import Bundle
from assay.pipeline import train_classifier
from assay.recipe import Recipe, ServeSpec

_ALL = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")


def _taken(server: Any, painted: Callable[..., bytes]) -> dict[str, int | str]:
    """What is answered to a photo of every format: the status, or the sentence."""
    with server.client() as client:
        answers = {kind: client.post("/classify", files={"image": painted(kind=kind)}) for kind in _ALL}
    return {
        kind: answer.status_code if answer.status_code == 200 else answer.json()["error"]
        for kind, answer in answers.items()
    }


def test_formats_of_the_training_data_are_accepted(
    colours: Path, tiny: Recipe, tmp_path: Path, serve, painted: Callable[..., bytes]
):
    for number, path in enumerate(sorted(colours.glob("*/0[0-3]*.png"))):
        to = tmp_path / "photos" / path.parent.name / f"{path.stem}.jpg"
        to.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(to, ("WEBP", "TIFF")[number % 2])
    run = train_classifier(tmp_path / "photos", tiny, tmp_path / "run").run
    info = Bundle.open(run.bundle).info
    assert info.serve.formats == ("jpeg", "png", "webp", "tiff")
    assert set(info.provenance.formats) == {"webp", "tiff"}
    assert sum(info.provenance.formats.values()) == sum(info.provenance.photos["train"].values())
    server = serve(run.bundle, lifecycle__drain_delay=0)
    refused = "Invalid image format. Allowed formats: jpg, jpeg, png, webp, tiff"
    assert _taken(server, painted) == {
        **dict.fromkeys(("JPEG", "PNG", "WEBP", "TIFF"), 200),
        **dict.fromkeys(("BMP", "GIF"), refused),
    }


def test_formats_can_be_set(serve, make_bundle: Callable[..., Path], painted: Callable[..., bytes]):
    bundle = make_bundle(serve=ServeSpec(formats=("png",)))
    server = serve(bundle, "--formats", "JPG, webp,tif,jpeg", lifecycle__drain_delay=0)
    refused = "Invalid image format. Allowed formats: jpg, jpeg, webp, tiff"
    assert _taken(server, painted) == {
        **dict.fromkeys(("JPEG", "WEBP", "TIFF"), 200),
        **dict.fromkeys(("PNG", "BMP", "GIF"), refused),
    }
    with server.client() as client:
        assert client.get("/models").json()["models"][0]["formats"] == ["jpeg", "webp", "tiff"]


def test_default_formats_and_error_message(serve, make_bundle: Callable[..., Path], painted: Callable[..., bytes]):
    refused = "Invalid image format. Allowed formats: jpg, jpeg, png"
    assert _taken(serve(make_bundle(), lifecycle__drain_delay=0), painted) == {
        **dict.fromkeys(("JPEG", "PNG"), 200),
        **dict.fromkeys(("WEBP", "TIFF", "BMP", "GIF"), refused),
    }


@pytest.mark.parametrize(("formats", "name"), [("jpeg,heic", "heic"), (",", ""), ("jpeg,", "")])
def test_unknown_format_raises(make_bundle: Callable[..., Path], formats: str, name: str):
    command = [sys.executable, "-m", "assay", "serve", make_bundle(), "--formats", formats]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert f"--formats: unknown image format {name!r}: choose from jpeg, png" in " ".join(ended.stderr.split())


@pytest.mark.parametrize(
    ("chosen", "trained_on", "accepted"),
    [
        (None, {}, "jpeg png"),
        (None, {"jpeg": 3}, "jpeg png"),
        (None, {"bmp": 3, "webp": 1}, "jpeg png webp bmp"),
        (None, {"avif": 1, "jpeg2000": 1, "ppm": 1, "gif": 1}, "jpeg png gif avif jpeg2000 ppm"),
        (None, {"heic": 1}, "jpeg png"),
        (("webp",), {"tiff": 9}, "webp"),
    ],
)
def test_formats_stored_in_a_bundle(chosen: Any, trained_on: dict[str, int], accepted: str):
    assert " ".join(ServeSpec(formats=chosen).with_formats(trained_on).accepted) == accepted
