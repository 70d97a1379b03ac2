"""Thumbnails are made once, kept in files, and made ahead behind the photo that was requested last."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from studio_projects import paint
from waiting import wait_until

from assay.core.errors import AssayError
from assay.studio.thumbnails import SIDE, ThumbnailCache


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ThumbnailCache]:
    opened = ThumbnailCache(tmp_path / "thumbnails")
    yield opened
    opened.close()


@pytest.fixture
def photos(tmp_path: Path) -> list[tuple[Path, str]]:
    return [(paint(tmp_path / f"{number}.png", seed=number), f"{number:024}") for number in range(12)]


def test_a_thumbnail_is_kept_in_a_file(cache: ThumbnailCache, tmp_path: Path):
    photo = tmp_path / "large.png"
    Image.new("RGB", (900, 300), (20, 90, 20)).save(photo)
    assert cache.cached("ab") is None
    data = cache.request(photo, "ab").result(20)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (SIDE, SIDE // 3)
    photo.unlink()
    assert cache.cached("ab") == cache.request(photo, "ab").result(20) == data
    with pytest.raises(AssayError, match="missing"):
        cache.request(photo, "cd").result(20)


def test_all_are_made_in_the_background(cache: ThumbnailCache, photos: list[tuple[Path, str]]):
    photos[3][0].write_bytes(b"no photo")
    cache.prepare(photos)
    wanted = {key for _, key in photos} - {photos[3][1]}
    wait_until(lambda: {key for key in wanted if cache.cached(key)} == wanted, 20)


def test_the_background_goes_on_behind_the_last_request(
    cache: ThumbnailCache, photos: list[tuple[Path, str]], monkeypatch: pytest.MonkeyPatch
):
    made: list[str] = []
    held, reached, real = threading.Event(), threading.Event(), cache.get

    def get(photo: Path, key: str) -> bytes:
        made.append(key)
        if len(made) == 1:
            reached.set()
            held.wait(20)
        return real(photo, key)

    monkeypatch.setattr(cache, "get", get)
    cache.prepare(photos)
    assert reached.wait(20)
    cache.request(*photos[8]).result(20)
    held.set()
    wait_until(lambda: len(made) >= len(photos), 20)
    keys = [key for _, key in photos]
    assert made == [keys[0], keys[8], *keys[9:], *keys[1:8]]


def test_several_requests_share_one_thumbnail(
    cache: ThumbnailCache, photos: list[tuple[Path, str]], monkeypatch: pytest.MonkeyPatch
):
    made: list[str] = []
    held, real = threading.Event(), cache.get

    def get(photo: Path, key: str) -> bytes:
        made.append(key)
        held.wait(20)
        return real(photo, key)

    monkeypatch.setattr(cache, "get", get)
    futures = [cache.request(*photos[0]) for _ in range(5)]
    held.set()
    assert len({future.result(20) for future in futures}) == 1
    assert made == [photos[0][1]]
