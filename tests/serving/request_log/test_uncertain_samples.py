"""The least confident photos are stored within limits, ready to be labelled."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from assay.core.errors import UsageError
from assay.data import manifest
from assay.serving.request_log import UncertainSampleSettings
from assay.serving.request_log.uncertain_samples import MANIFEST, UncertainSampleStore, read_uncertain_samples

pytestmark = pytest.mark.anyio


def photo(number: int, size: int = 100) -> bytes:
    return b"%08d" % number + bytes(size - 8)


def jpegs(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.jpg")}


async def test_uncertain_photos_are_stored_with_their_predictions(tmp_path: Path, record: Any):
    photos = UncertainSampleStore(tmp_path / "kept", UncertainSampleSettings())
    assert photos.offer(photo(1), record(1, confidence=0.6))
    assert photos.offer(photo(2), record(2, confidence=0.99, unknown=True))
    assert not photos.offer(photo(3), record(3, confidence=0.95))
    assert not photos.offer(photo(4), record(4, result=None, confidence=None, status=400))
    await photos.close()
    first, second = read_uncertain_samples(tmp_path / "kept")
    assert (tmp_path / "kept" / first.path).read_bytes() == photo(1)
    assert (tmp_path / "kept" / second.path).read_bytes() == photo(2)
    assert first.path.endswith(".jpg")
    assert (first.label, first.confidence, first.request_id) == ("open", 0.6, "request-1")
    assert first.timestamp == "2026-03-01T12:00:01.123+00:00"


async def test_manifest_can_be_used_for_training(tmp_path: Path, record: Any):
    photos = UncertainSampleStore(tmp_path, UncertainSampleSettings())
    photos.offer(photo(1), record(1, confidence=0.6))
    await photos.close()
    (sample,) = manifest.read_manifest(tmp_path / MANIFEST).samples
    assert (sample.label, sample.path.parent) == ("open", tmp_path)


@pytest.mark.parametrize("bound", [{"max_photos": 3}, {"max_megabytes": 350 / 2**20}], ids=["number", "bytes"])
async def test_most_confident_photos_are_removed_beyond_the_limits(
    tmp_path: Path, record: Any, bound: dict[str, float]
):
    photos = UncertainSampleStore(tmp_path, UncertainSampleSettings(**bound))  # type: ignore[arg-type]
    for number, confidence in enumerate((0.5, 0.8, 0.3, 0.7, 0.4, 0.6)):
        photos.offer(photo(number), record(number, confidence=confidence))
        await photos.close()
    assert [row.confidence for row in read_uncertain_samples(tmp_path)] == [0.3, 0.4, 0.5]
    assert len(jpegs(tmp_path)) == 3


async def test_same_photo_is_stored_once(tmp_path: Path, record: Any):
    photos = UncertainSampleStore(tmp_path, UncertainSampleSettings())
    for number in range(3):
        photos.offer(photo(1), record(number, confidence=0.5))
        await photos.close()
    assert len(read_uncertain_samples(tmp_path)) == 1


async def test_workers_share_a_folder(tmp_path: Path, record: Any):
    workers = [UncertainSampleStore(tmp_path, UncertainSampleSettings(max_photos=30)) for _ in range(4)]
    for number in range(40):
        workers[number % 4].offer(photo(number), record(number, confidence=number / 100))
    await asyncio.gather(*(worker.close() for worker in workers))
    assert [row.confidence for row in read_uncertain_samples(tmp_path)] == [number / 100 for number in range(30)]
    assert len(jpegs(tmp_path)) == 30


async def test_corrected_labels_are_kept_and_deleted_photos_dropped(tmp_path: Path, record: Any):
    photos = UncertainSampleStore(tmp_path, UncertainSampleSettings())
    for number in range(3):
        photos.offer(photo(number), record(number, confidence=number / 10))
    await photos.close()
    rows = read_uncertain_samples(tmp_path)
    text = (tmp_path / MANIFEST).read_text(encoding="utf-8")
    text = text.replace(f"{rows[0].path},open", f"{rows[0].path},closed")
    (tmp_path / MANIFEST).write_text(text, encoding="utf-8")
    (tmp_path / rows[1].path).unlink()
    photos.offer(photo(9), record(9, confidence=0.8))
    await photos.close()
    assert [(row.request_id, row.label) for row in read_uncertain_samples(tmp_path)] == [
        ("request-0", "closed"),
        ("request-2", "open"),
        ("request-9", "open"),
    ]


async def test_leftovers_of_a_kill_are_removed_and_other_files_kept(tmp_path: Path, record: Any):
    (tmp_path / f"{'ab' * 16}.jpg").write_bytes(b"written, but not in the manifest")
    (tmp_path / "mine.jpg").write_bytes(b"somebody's own")
    photos = UncertainSampleStore(tmp_path, UncertainSampleSettings())
    photos.offer(photo(1), record(1, confidence=0.5))
    await photos.close()
    assert jpegs(tmp_path) == {"mine.jpg", read_uncertain_samples(tmp_path)[0].path}


@pytest.mark.parametrize("trouble", ["no folder", "spoilt manifest"])
async def test_write_errors_are_logged_only(
    tmp_path: Path, record: Any, caplog: pytest.LogCaptureFixture, trouble: str
):
    folder = tmp_path / "kept"
    photos = UncertainSampleStore(folder, UncertainSampleSettings())
    if trouble == "no folder":
        folder.write_text("a file", encoding="utf-8")
    else:
        folder.mkdir()
        (folder / MANIFEST).write_text("one,two\n1,2\n", encoding="utf-8")
    photos.offer(photo(1), record(1, confidence=0.5))
    with caplog.at_level(logging.WARNING):
        await photos.close()
    assert "cannot be kept" in caplog.text


def test_a_file_is_refused_as_the_folder(tmp_path: Path):
    (tmp_path / "kept").touch()
    with pytest.raises(UsageError, match=r"kept: it is a file; give a folder"):
        UncertainSampleStore(tmp_path / "kept", UncertainSampleSettings())


async def test_photos_beyond_the_queue_are_skipped(tmp_path: Path, record: Any):
    photos = UncertainSampleStore(tmp_path, UncertainSampleSettings())
    large = bytes(16 * 2**20)
    offered = [photos.offer(large, record(number, confidence=0.5)) for number in range(6)]
    assert offered == [True] * 4 + [False] * 2
    await photos.close()
    assert photos.offer(photo(1), record(9, confidence=0.5))
    await photos.close()
