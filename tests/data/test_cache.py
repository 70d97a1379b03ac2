import os
from pathlib import Path

import numpy as np
import pytest

from assay.data import cache
from assay.data.array_store import store_file_size
from assay.data.cache import EmbeddingCache, PixelCache, clear_array_caches
from assay.recipe import PreprocessSpec

SPEC = PreprocessSpec(size=16)
BYTES = 16 * 16 * 3
SQUARE = np.full((16, 16, 3), 7, np.uint8)


def digests(count: int, first: int = 0) -> list[str]:
    return [f"{number:064x}" for number in range(first, first + count)]


def files(folder: Path) -> list[Path]:
    return sorted((folder / "pixels").glob("*.pixels"))


def aged(folder: Path) -> None:
    """Make every file look as if it had been used an hour earlier than it was."""
    for path in files(folder):
        os.utime(path, (path.stat().st_atime - 3600, path.stat().st_mtime - 3600))


def test_the_same_photos_and_settings_share_a_file(tmp_path: Path) -> None:
    PixelCache(digests(5), tmp_path).open(SPEC).put(digests(1)[0], SQUARE)
    again = PixelCache([*reversed(digests(5)), digests(1)[0], None], tmp_path).open(SPEC)
    assert again.get(digests(1)[0]) is not None
    normalised = SPEC.model_copy(update={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)})
    assert PixelCache(digests(5), tmp_path).open(normalised).get(digests(1)[0]) is not None
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"size": 24},
        {"roi": (0.0, 0.0, 1.0, 0.3)},
        {"center_crop": 0.5},
        {"resize_mode": "stretch"},
        {"fill": (0, 0, 0)},
    ],
)
def test_other_settings_have_their_own_pixels(tmp_path: Path, change: dict[str, object]) -> None:
    kept = PixelCache(digests(2), tmp_path)
    kept.open(SPEC).put(digests(1)[0], SQUARE)
    assert kept.open(SPEC.model_copy(update=change)).get(digests(1)[0]) is None


def test_other_versions_of_the_decoders_have_their_own_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = PixelCache(digests(2), tmp_path)
    kept.open(SPEC).put(digests(1)[0], SQUARE)
    monkeypatch.setattr(cache.PIL, "__version__", "99")
    assert kept.open(SPEC).get(digests(1)[0]) is None


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    limit = 2 * store_file_size(10, BYTES)
    first, second, third = (PixelCache(digests(10, first), tmp_path, limit) for first in (0, 10, 20))
    first.open(SPEC).close()
    aged(tmp_path)
    second.open(SPEC).close()
    aged(tmp_path)
    first.open(SPEC).close()
    aged(tmp_path)
    before = files(tmp_path)
    third.open(SPEC).close()
    assert len(files(tmp_path)) == 2
    assert len(set(before) - set(files(tmp_path))) == 1
    first_again = first.open(SPEC)
    assert digests(1)[0] in first_again
    assert sum(path.stat().st_size for path in files(tmp_path)) <= limit


def test_a_file_in_use_stays_and_the_other_gets_what_is_left(tmp_path: Path) -> None:
    limit = store_file_size(14, BYTES)
    held = PixelCache(digests(10), tmp_path, limit).open(SPEC)
    held.put(digests(1)[0], SQUARE)
    other = PixelCache(digests(10, 10), tmp_path, limit).open(SPEC)
    assert held.get(digests(1)[0]) is not None
    assert not any(digest in other for digest in digests(10, 10))
    held.close()
    other.close()
    room = PixelCache(digests(10, 10), tmp_path, limit).open(SPEC)
    assert all(digest in room for digest in digests(10, 10))


def test_too_little_room_keeps_the_first_photos_every_time(tmp_path: Path) -> None:
    limit = store_file_size(40, BYTES)
    for _ in range(2):
        slots = PixelCache(digests(100), tmp_path, limit).open(SPEC)
        held = [digest in slots for digest in digests(100)]
        assert 30 <= sum(held) <= 40
        assert held == sorted(held, reverse=True)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= limit


def test_no_room_no_photos_or_no_folder_means_no_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    for kept in (
        PixelCache(digests(3), tmp_path, 0),
        PixelCache([], tmp_path),
        PixelCache(digests(3), tmp_path / "file"),
    ):
        slots = kept.open(SPEC)
        slots.put(digests(1)[0], SQUARE)
        assert slots.get(digests(1)[0]) is None
    assert "pixels are not kept in" in caplog.text


def test_a_file_of_another_length_is_made_anew(tmp_path: Path) -> None:
    kept = PixelCache(digests(3), tmp_path)
    kept.open(SPEC).close()
    files(tmp_path)[0].write_bytes(b"short")
    slots = kept.open(SPEC)
    slots.put(digests(1)[0], SQUARE)
    assert slots.get(digests(1)[0]) is not None


def test_photos_that_data_sets_share_are_found_in_either(tmp_path: Path) -> None:
    first = PixelCache(digests(5), tmp_path).open(SPEC)
    for digest in digests(5):
        first.put(digest, SQUARE)
    first.close()
    (older,) = files(tmp_path)
    more = PixelCache(digests(6, first=1), tmp_path).open(SPEC)
    assert [more.get(digest) is not None for digest in digests(7)] == [*[True] * 5, False, False]
    more.close()
    # From then on they are its own.
    older.unlink()
    again = PixelCache(digests(6, first=1), tmp_path).open(SPEC)
    assert [again.get(digest) is not None for digest in digests(7)] == [False, *[True] * 4, False, False]
    assert (again.get(digests(2)[1]) == SQUARE).all()


def test_damaged_files_of_others_are_passed_over(tmp_path: Path) -> None:
    first = PixelCache(digests(5), tmp_path).open(SPEC)
    first.put(digests(5)[4], SQUARE)
    first.close()
    (older,) = files(tmp_path)
    content = older.read_bytes()
    older.write_bytes(content[:-100])
    assert PixelCache(digests(6), tmp_path).open(SPEC).get(digests(5)[4]) is None
    older.write_bytes(content[:-1] + b"x")
    assert PixelCache(digests(7), tmp_path).open(SPEC).get(digests(5)[4]) is None


def test_default_limit_is_a_share_of_the_free_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.PixelCache, "most_bytes", store_file_size(3, BYTES))
    slots = PixelCache(digests(10), tmp_path).open(SPEC)
    assert sum(digest in slots for digest in digests(10)) <= 3


def test_clear_gives_everything_back(tmp_path: Path) -> None:
    slots = PixelCache(digests(3), tmp_path).open(SPEC)
    slots.put(digests(1)[0], SQUARE)
    assert clear_array_caches(tmp_path) > 0
    assert files(tmp_path) == []
    assert clear_array_caches(tmp_path) == 0
    assert slots.get(digests(1)[0]) is not None


def test_embeddings_are_kept_by_what_they_depend_on(tmp_path: Path) -> None:
    row = np.linspace(-1, 1, 7, dtype=np.float32)
    cache = EmbeddingCache(digests(4), tmp_path)
    cache.open({"backbone": "a"}, 7).put(digests(4)[2], row)
    kept = EmbeddingCache(reversed(digests(4)), tmp_path).open({"backbone": "a"}, 7).get(digests(4)[2])
    np.testing.assert_array_equal(kept, row)
    assert kept is not None
    assert kept.dtype == np.float32
    assert cache.open({"backbone": "b"}, 7).get(digests(4)[2]) is None


def test_embeddings_are_bounded_apart_from_pixels_and_cleared_with_them(tmp_path: Path) -> None:
    pixels = PixelCache(digests(3), tmp_path)
    pixels.open(SPEC).put(digests(1)[0], SQUARE)
    limit = store_file_size(10, 28)
    for number in range(3):
        one = EmbeddingCache(digests(10), tmp_path, limit).open({"backbone": number}, 7)
        one.put(digests(1)[0], np.zeros(7, np.float32))
        one.close()
    assert len(list((tmp_path / "embeddings").glob("*.embeddings"))) == 1
    assert pixels.open(SPEC).get(digests(1)[0]) is not None
    assert clear_array_caches(tmp_path) > 0
    assert not [*tmp_path.glob("*/*.pixels"), *tmp_path.glob("*/*.embeddings")]
