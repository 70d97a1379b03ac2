"""Thumbnails of the report."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.core.errors import AssayError
from assay.evaluation.predictions import evenly_spaced
from assay.evaluation.report.gallery import EncodedThumbnail, ThumbnailRequest, make_thumbnails


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 200, 3), dtype=np.uint8)).save(path)
    return path


def opened(picture: EncodedThumbnail) -> Image.Image:
    kind, data = picture.uri.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_thumbnails_keep_proportions(photo: Path):
    request = ThumbnailRequest("photo", str(photo), 100)
    picture = make_thumbnails([request], read=None, make_heatmap=None)[request]
    assert opened(picture).size == (picture.width, picture.height) == (100, 45)


def test_small_images_are_not_enlarged(photo: Path):
    request = ThumbnailRequest("photo", str(photo), 500)
    assert opened(make_thumbnails([request], read=None, make_heatmap=None)[request]).size == (200, 90)


def test_images_are_read_by_id_with_the_given_function(photo: Path):
    requested = []

    def read(name: str, path: str) -> bytes:
        requested.append((name, path))
        return photo.read_bytes()

    request = ThumbnailRequest("array#3", "/nowhere", 50)
    assert make_thumbnails([request, request], read=read, make_heatmap=None)[request].uri
    assert requested == [("array#3", "/nowhere")]


def test_heat_maps_are_made_from_bytes_and_class(photo: Path):
    seen = []

    def heatmap(data: bytes, place: int) -> bytes | None:
        seen.append(place)
        assert data == photo.read_bytes()
        return data if place else None

    requests = [ThumbnailRequest("a", str(photo), 50, 1), ThumbnailRequest("a", str(photo), 50, 0)]
    made = make_thumbnails(requests, read=None, make_heatmap=heatmap)
    assert sorted(seen) == [0, 1]
    assert opened(made[requests[0]]).width == 50
    assert made[requests[1]] == EncodedThumbnail("", "no heat map")


def test_unreadable_images_have_a_reason(tmp_path: Path, photo: Path):
    (tmp_path / "text.png").write_text("no photo", encoding="utf-8")
    cases = {
        str(tmp_path / "gone.png"): "the file is missing",
        str(tmp_path): "the file cannot be opened",
        "nul\0name": "the file cannot be opened",
    }
    for path, reason in cases.items():
        request = ThumbnailRequest("a", path, 50)
        assert make_thumbnails([request], read=None, make_heatmap=None)[request] == EncodedThumbnail("", reason)
    request = ThumbnailRequest("a", str(tmp_path / "text.png"), 50)
    assert make_thumbnails([request], read=None, make_heatmap=None)[request].problem

    def failing(name: str, path: str) -> bytes:
        assert path == str(photo)
        if name == "unknown":
            raise KeyError(name)
        raise AssayError("the array is damaged")

    for name, reason in (("unknown", "the photo is not in the data set"), ("other", "the array is damaged")):
        request = ThumbnailRequest(name, str(photo), 50)
        assert make_thumbnails([request], read=failing, make_heatmap=None)[request].problem == reason


def test_thumbnails_stop_at_the_size_limit(photo: Path):
    requests = [ThumbnailRequest(str(place), str(photo), 100) for place in range(100)]
    item = len(make_thumbnails(requests[:1], read=None, make_heatmap=None)[requests[0]].uri)
    made = make_thumbnails(requests, read=None, make_heatmap=None, max_bytes=10 * item + item // 2)
    assert list(made) == requests[:10]
    # A picture shown again takes room again, as the page repeats it.
    assert (
        len(make_thumbnails([requests[0]] * 50 + requests[1:], read=None, make_heatmap=None, max_bytes=10 * item)) == 1
    )


def test_selection_is_evenly_spaced():
    assert evenly_spaced(range(10), 5) == [0, 2, 4, 6, 8]
    assert evenly_spaced(range(3), 5) == [0, 1, 2]
    assert evenly_spaced(range(1000), 1) == [0]
