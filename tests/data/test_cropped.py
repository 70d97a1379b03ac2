"""The folder of regions of interest: what its files show, that they are whole; nothing else is touched."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.core.errors import AssayError, UsageError
from assay.data import Dataset, load_dataset, read_manifest
from assay.data.offline_augmentation import CroppedDataset, write_cropped_dataset
from assay.image import Preprocess, decode, inspect
from assay.recipe import OfflineSpec, PreprocessSpec

TOP = PreprocessSpec(roi=(0, 0, 1, 0.3))


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def bands(width: int, height: int) -> Image.Image:
    """Every row has a gray value of its own, as far as there are enough."""
    rows = np.arange(height, dtype=np.float32)[:, None, None] * 255 / (height - 1)
    return Image.fromarray(np.broadcast_to(rows, (height, width, 3)).astype(np.uint8))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Photos of all kinds: JPEG, PNG, transparent, gray, turned by Exif, WebP, a file that is broken."""
    root = tmp_path / "raw"
    for label in ("closed", "open"):
        (root / label).mkdir(parents=True)
        bands(50, 100).save(root / label / "plain.png")
        bands(50, 101).save(root / label / "odd.JPG", quality=90)
        bands(40, 80).convert("L").save(root / label / "gray.jpeg")
        bands(40, 90).convert("RGBA").save(root / label / "glass.png")
        bands(60, 70).save(root / label / "web.webp", lossless=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    bands(50, 100).rotate(90, expand=True).save(root / "open" / "turned.jpg", exif=turned, quality=95)
    (root / "open" / "broken.jpg").write_bytes((root / "open" / "odd.JPG").read_bytes()[:300])
    return root


@pytest.fixture
def dataset(source: Path) -> Dataset:
    return load_dataset(source)


def crop(dataset: Dataset, to: Path, spec: PreprocessSpec = TOP) -> CroppedDataset:
    return write_cropped_dataset(dataset, spec, OfflineSpec(), to)


def test_only_the_region_is_written_into_the_same_folders(source: Path, dataset: Dataset, tmp_path: Path):
    before = contents(source)
    out = tmp_path / "processed"
    assert crop(dataset, out) == CroppedDataset(out / "manifest.csv", photos=11, kept=0)
    written = {f"{sample.label}/{Path(sample.id).stem}": sample for sample in dataset.samples}
    found = {path.relative_to(out).with_suffix("").as_posix(): path for path in out.glob("*/*.*")}
    assert found.keys() == written.keys()
    for name, path in found.items():
        whole, part = decode(written[name].read()), decode(path.read_bytes())
        rows = -(-3 * whole.shape[0] // 10)
        assert part.shape == (rows, whole.shape[1], 3)
        assert np.abs(part.astype(int) - whole[:rows]).max() <= (8 if path.suffix == ".jpg" else 0)
        about = inspect(path.read_bytes())
        assert (about.mode, about.orientation) == ("RGB", 1)
        assert about.format == ("jpeg" if "odd gray turned".count(path.stem) else "png")
    assert contents(source) == before


def test_quality_and_level_are_those_of_the_recipe(dataset: Dataset, tmp_path: Path):
    crop(dataset, tmp_path / "processed")
    part = decode((tmp_path / "processed/open/odd.jpg").read_bytes())
    Image.fromarray(part).save(tmp_path / "again.jpg", quality=95)
    with (
        Image.open(tmp_path / "again.jpg") as again,
        Image.open(tmp_path / "processed/open/odd.jpg") as written,
    ):
        assert written.quantization == again.quantization  # type: ignore[attr-defined]
    Image.fromarray(decode((tmp_path / "processed/open/plain.png").read_bytes())).save(
        tmp_path / "again.png", compress_level=6
    )
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "processed/open/plain.png").read_bytes()


@pytest.mark.parametrize("roi", [(0.25, 0.5, 0.75, 1), (0, 0, 1, 0.001), (0.333, 0.1, 0.9, 0.35)])
def test_the_region_is_what_training_looks_at(dataset: Dataset, tmp_path: Path, roi: tuple[float, float, float, float]):
    spec = PreprocessSpec(roi=roi, resize_mode="stretch", center_crop=1)
    crop(dataset, tmp_path / "out", spec.model_copy(update={"center_crop": 0.5, "resize_mode": "crop"}))
    with Image.open(tmp_path / "out/open/plain.png") as part:
        left, top, right, bottom = Preprocess(spec).box(50, 100)
        assert part.size == (right - left, bottom - top)


def test_ready_made_parts_stay_and_groups_stand_in_the_manifest(dataset: Dataset, tmp_path: Path):
    parted = dataset.with_samples(
        replace(sample, split="train" if "plain" in sample.id else "test", group=f"g{sample.label}")
        for sample in dataset.samples
    )
    written = crop(parted, tmp_path / "out")
    assert (tmp_path / "out/train/open/plain.png").is_file()
    saved = read_manifest(written.manifest, dataset.classes)
    assert {(one.split, one.group) for one in saved.samples} == {
        (part, group) for part in ("train", "test") for group in ("gopen", "gclosed")
    }


def test_it_goes_on_where_it_stopped_and_mends_what_is_broken(dataset: Dataset, tmp_path: Path):
    out = tmp_path / "processed"
    crop(dataset, out)
    whole = contents(out)
    (out / "open/odd.jpg").unlink()
    (out / "closed/plain.png").write_bytes((out / "closed/plain.png").read_bytes()[:60])
    (out / "open/.odd-x1y2.jpg").write_bytes(b"half")
    assert crop(dataset, out).kept == 9
    assert contents(out) == whole
    with pytest.raises(AssayError, match="other photos, settings or seed"):
        crop(dataset, out, PreprocessSpec(roi=(0, 0, 1, 0.4)))


def test_what_cannot_be_done_is_refused(source: Path, dataset: Dataset, tmp_path: Path):
    with pytest.raises(UsageError, match="whole photo"):
        crop(dataset, tmp_path / "out", PreprocessSpec())
    with pytest.raises(UsageError, match="lie within each other"):
        crop(dataset, source / "processed")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(AssayError, match="holds something else"):
        crop(dataset, tmp_path / "mine")
    assert not (source / "processed").exists()
    (source / "open/plain.png").write_bytes((source / "open/glass.png").read_bytes())
    with pytest.raises(AssayError, match="was changed while it was in use"):
        crop(dataset, tmp_path / "out")


def test_the_bottles_caps(bottles: Path, tmp_path: Path):
    written = crop(load_dataset(bottles), tmp_path / "processed")
    assert written.photos == 20
    sizes = set()
    for path in (tmp_path / "processed").glob("*/*"):
        with Image.open(path) as part:
            sizes.add(part.size)
    assert sizes == {(1080, 576)}
