import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.core.progress import Progress
from assay.data import image_scan as module
from assay.data.dataset import Sample
from assay.data.feature_store import open_feature_store
from assay.data.image_scan import scan_images
from assay.data.loading import list_source


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Seventy small photos, an identical one, a damaged one and a text, in that order of names."""
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    for number in range(70):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    shutil.copy(folder / "05.png", folder / "70.png")
    (folder / "71.png").write_bytes((folder / "06.png").read_bytes()[:200])
    (folder / "72.txt").write_text("no photo")
    return sorted(list_source(tmp_path / "data").samples, key=lambda sample: sample.id)


def test_order_and_outcomes(samples: list[Sample], tmp_path: Path) -> None:
    with open_feature_store(tmp_path / "cache") as store:
        seen = scan_images(samples, store)

        assert [photo.sample.id for photo in seen.images] == [f"a/{number:02}.png" for number in range(71)]
        assert all(photo.sample.digest == photo.features.digest for photo in seen.images)
        assert [(one.id, one.reason) for one in seen.unreadable] == [("a/71.png", "damaged: truncated PNG")]
        assert seen.skipped == {"not an image": 1}
        assert len(store.get([photo.features.digest for photo in seen.images])) == 70


def test_known_photos_are_not_decoded_again(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_feature_store(tmp_path / "cache") as store:
        first = scan_images(samples, store)
    decoded: list[int] = []
    extract = module.extract_features
    monkeypatch.setattr(module, "extract_features", lambda data: decoded.append(len(data)) or extract(data))
    with open_feature_store(tmp_path / "cache") as store:
        second = scan_images(samples, store)

    assert len(decoded) == 1  # the damaged one
    assert [photo.sample for photo in second.images] == [photo.sample for photo in first.images]
    assert [photo.features.sharpness for photo in second.images] == [photo.features.sharpness for photo in first.images]


def test_progress_reaches_the_end(samples: list[Sample], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def note(what: str, done: int, total: int) -> None:
        assert what == "Reading photos"
        told.append((done, total))

    progress: Progress = note
    with open_feature_store(tmp_path / "cache") as store:
        scan_images(samples, store, progress)

    assert told[-1] == (73, 73)
    assert told == sorted(told)


def test_files_read_before_are_not_read_again(samples: list[Sample], tmp_path: Path) -> None:
    with open_feature_store(tmp_path / "cache") as store:
        first = scan_images(samples, store)
        digests = {image.sample.id: image.features.digest for image in first.images}
        for sample in samples[:70]:
            sample.path.unlink()
        second = scan_images(samples, store, digests=digests)

    assert [image.sample for image in second.images] == [image.sample for image in first.images]
    assert [one.id for one in second.unreadable] == ["a/71.png"]


def test_a_few_files_stay_in_memory(samples: list[Sample], tmp_path: Path) -> None:
    sizes = [sample.path.stat().st_size for sample in samples[:70]]
    with open_feature_store(tmp_path / "cache") as store:
        images = scan_images(samples, store, keep_bytes=sum(sizes) // 2).images
    kept = [image.sample for image in images if image.sample.content is not None]
    assert sum(sizes) / 2 - max(sizes) <= sum(len(sample.read()) for sample in kept) <= sum(sizes) / 2
    content = kept[0].path.read_bytes()
    kept[0].path.unlink()
    assert kept[0].read() == content
    copy = pickle.loads(pickle.dumps(kept[0]))  # noqa: S301
    assert copy == kept[0]
    with pytest.raises(FileNotFoundError):
        copy.read()
