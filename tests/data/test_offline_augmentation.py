"""Writing augmented data sets and cropped regions: content, resumption and untouched sources."""

import hashlib
import io
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from assay.core.errors import AssayError, UsageError
from assay.data import Dataset, Sample, assign_splits, load_dataset, read_manifest
from assay.data.augmented_file_writer import plan_output_files
from assay.data.offline_augmentation import (
    PLAN_FILE,
    AugmentedDataset,
    CroppedDataset,
    SheetImage,
    draw_augmentation_sheet,
    pick_images,
    write_augmented_dataset,
    write_cropped_dataset,
)
from assay.image import Preprocess, decode, inspect
from assay.recipe import AugmentSpec, OfflineSpec, PreprocessSpec, SplitSpec, load_recipe

SPEC = AugmentSpec.model_validate(
    {
        "train": [{"name": "rotate", "degrees": 10, "p": 1.0}, {"name": "gaussian_noise", "p": 1.0}],
        "val": [{"name": "brightness", "factor": [0.5, 0.6], "p": 1.0}],
        "offline": {"copies": 2},
    }
)
MakeFolders = Callable[..., Path]


def parted(path: Path) -> Dataset:
    return assign_splits(load_dataset(path), SplitSpec(train=0.5, val=0.25, test=0.25), seed=0)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def source(class_folders: MakeFolders) -> Path:
    return class_folders(cats=8, dogs=8)


def test_splits_classes_and_copies(source: Path, tmp_path: Path) -> None:
    before = contents(source)
    written = write_augmented_dataset(parted(source), SPEC, tmp_path / "out", seed=1)
    assert written == AugmentedDataset(tmp_path / "out" / "manifest.csv", originals=16, copies=24, kept=0)
    counted = Counter("/".join(name.split("/")[:2]) for name in contents(tmp_path / "out"))
    assert counted == {
        PLAN_FILE: 1,
        "manifest.csv": 1,
        **{f"train/{label}": 4 + 4 * 2 for label in ("cats", "dogs")},
        **{f"val/{label}": 2 + 2 * 2 for label in ("cats", "dogs")},
        **{f"test/{label}": 2 for label in ("cats", "dogs")},
    }
    assert contents(source) == before


def test_copies_stay_in_the_split_of_their_original(source: Path, tmp_path: Path) -> None:
    written = write_augmented_dataset(parted(source), SPEC, tmp_path / "out", seed=1)
    dataset = read_manifest(written.manifest)
    families = defaultdict(list)
    for sample in dataset.samples:
        families[sample.group].append(sample)
    assert {group for group in families if group} == {sample.id for sample in load_dataset(source).samples}
    for members in families.values():
        assert len({(member.split, member.label) for member in members}) == 1
        assert "_aug" not in members[0].id
        assert all("_aug" in member.id for member in members[1:])
    assert {member.path for members in families.values() for member in members} == set(
        (tmp_path / "out").rglob("*.jpg")
    )


def test_groups_are_kept(source: Path, tmp_path: Path) -> None:
    dataset = parted(source)
    dataset = dataset.with_samples(replace(sample, group="burst") for sample in dataset.samples)
    written = write_augmented_dataset(dataset, SPEC, tmp_path / "out", seed=1)
    assert {sample.group for sample in read_manifest(written.manifest).samples} == {"burst"}


def test_validation_uses_the_limited_augmentation(source: Path, tmp_path: Path) -> None:
    """The limited list here only darkens, to 0.5-0.6; the full one turns and adds noise."""
    write_augmented_dataset(parted(source), SPEC, tmp_path / "out", seed=1)

    def means(part: str) -> list[float]:
        folder = tmp_path / "out" / part
        return [
            float(
                decode(path.read_bytes()).mean()
                / decode(path.with_name(path.name.replace(path.stem, path.stem[:3])).read_bytes()).mean()
            )
            for path in folder.rglob("*_aug*")
        ]

    assert all(0.45 < ratio < 0.65 for ratio in means("val"))
    assert all(0.9 < ratio < 1.1 for ratio in means("train"))
    for path in (tmp_path / "out" / "train" / "cats").glob("*_aug1.jpg"):
        pixels = [decode(item.read_bytes()) for item in sorted(path.parent.glob(f"{path.stem[:3]}*"))]
        assert len({item.tobytes() for item in pixels}) == 3


def test_same_seed_same_bytes(source: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        write_augmented_dataset(parted(source), SPEC, tmp_path / name, seed=seed)
    item, same, other = (contents(tmp_path / name) for name in ("one", "same", "other"))
    assert item == same
    changed = {name for name in item if item[name] != other[name]}
    assert changed == {PLAN_FILE, *(name for name in item if "_aug" in name)}


def test_copies_of_every_format_are_24_bit_rgb(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    dice = np.random.default_rng(0)
    photos: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "plain.jpg": (Image.fromarray(dice.integers(0, 256, (20, 30, 3), np.uint8)), {"quality": 40}),
        "plain.png": (Image.fromarray(dice.integers(0, 256, (20, 31, 3), np.uint8)), {}),
        "gray.png": (Image.fromarray(dice.integers(0, 256, (20, 32), np.uint8)), {}),
        "alpha.png": (Image.fromarray(dice.integers(0, 256, (20, 33, 4), np.uint8)), {}),
        "deep.png": (Image.fromarray(dice.integers(0, 2**16, (20, 34), np.uint16)), {}),
        "cmyk.jpg": (Image.fromarray(dice.integers(0, 256, (20, 35, 4), np.uint8), "CMYK"), {}),
        "large.jpg": (Image.fromarray(dice.integers(0, 256, (20, 200, 3), np.uint8)), {}),
        "video.webp": (Image.fromarray(dice.integers(0, 256, (20, 36, 3), np.uint8)), {"lossless": True}),
    }
    turned = Image.Exif()
    turned[0x0112] = 6
    photos["turned.jpg"] = (photos["plain.jpg"][0], {"exif": turned})
    for label in ("cats", "dogs"):
        (source / label).mkdir(parents=True)
        for name, (image, options) in photos.items():
            image.save(source / label / name, **options)
    spec = SPEC.model_copy(update={"offline": SPEC.offline.model_copy(update={"max_side": 64})})
    write_augmented_dataset(parted(source), spec, tmp_path / "out", seed=0)
    sizes = {}
    for path in (tmp_path / "out").glob("*/*/*.*"):
        info = inspect(path.read_bytes())
        sizes[path.name.partition("_aug")[0].partition(".")[0]] = (info.width, info.height)
        assert (info.mode, info.orientation, info.frames) == ("RGB", 1, 1)
        assert path.suffix == {"jpeg": ".jpg", "png": ".png"}[info.format]
        if info.format == "jpeg" and "_aug" in path.name:
            assert quality_of(path.read_bytes()) == 95
    assert sizes["turned"] == (20, 30)
    assert sizes["large"] == (64, 6)
    for name in ("plain.jpg", "plain.png"):
        (copy,) = (tmp_path / "out").glob(f"*/cats/{name}")
        assert copy.read_bytes() == (source / "cats" / name).read_bytes()


def quality_of(data: bytes) -> int:
    """The quality whose quantisation tables a JPEG has."""
    with Image.open(io.BytesIO(data)) as image:
        tables = image.quantization
        for quality in range(1, 101):
            stream = io.BytesIO()
            Image.new("RGB", (8, 8)).save(stream, "jpeg", quality=quality)
            with Image.open(io.BytesIO(stream.getvalue())) as other:
                if other.quantization == tables:
                    return quality
    raise AssertionError("no quality has these tables")


def test_interrupted_run_is_resumed(source: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    dataset = parted(source)
    write_augmented_dataset(dataset, SPEC, whole, seed=1)
    write_augmented_dataset(dataset, SPEC, out, seed=1)
    names = sorted(contents(out))
    lost, torn, empty = (out / name for name in names[2:20:7])
    lost.unlink()
    torn.write_bytes(torn.read_bytes()[:-20])
    empty.write_bytes(b"")
    (out / "manifest.csv").unlink()
    (empty.parent / ".temporary-123.jpg").write_bytes(b"left by a killed run")
    gone = {lost, torn, empty, out / "manifest.csv"}
    kept = {name: (out / name).stat().st_mtime_ns for name in names if out / name not in gone}
    assert write_augmented_dataset(dataset, SPEC, out, seed=1).kept == len(names) - 2 - 3
    assert contents(out) == contents(whole)
    assert kept == {name: (out / name).stat().st_mtime_ns for name in kept}


def test_killed_run_is_resumed(source: Path, tmp_path: Path) -> None:
    """A real process is killed in the middle; what it left is completed to the same bytes."""
    write_augmented_dataset(parted(source), SPEC, tmp_path / "whole", seed=1)
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from assay.data import assign_splits, load_dataset\n"
        "from assay.data.offline_augmentation import write_augmented_dataset\n"
        "from assay.recipe import AugmentSpec, SplitSpec\n"
        "source, out, spec = sys.argv[1:]\n"
        "data = assign_splits(load_dataset(source), SplitSpec(train=0.5, val=0.25, test=0.25), seed=0)\n"
        "def die(what, done, total):\n"
        "    if done >= 20: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_augmented_dataset(data, AugmentSpec.model_validate_json(spec), Path(out), 1, progress=die)\n"
    )
    command = [sys.executable, "-c", program, str(source), str(tmp_path / "out"), SPEC.model_dump_json()]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out" / "manifest.csv").exists()
    assert write_augmented_dataset(parted(source), SPEC, tmp_path / "out", seed=1).kept >= 20
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_originals_are_written_first(source: Path, tmp_path: Path) -> None:
    lock = threading.Lock()
    seen = []

    def look(what: str, done: int, total: int) -> None:
        del what, total
        with lock:
            if done == 16:
                seen.append(sum("_aug" not in name for name in contents(tmp_path / "out") if name != PLAN_FILE))

    write_augmented_dataset(parted(source), SPEC, tmp_path / "out", seed=1, progress=look)
    assert seen == [16]


@pytest.mark.parametrize("change", ["seed", "copies", "photo", "parts"])
def test_folder_of_other_settings_is_rejected(source: Path, tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    write_augmented_dataset(parted(source), SPEC, out, seed=1)
    before = contents(out)
    spec, seed, dataset = SPEC, 1, parted(source)
    if change == "seed":
        seed = 2
    elif change == "copies":
        spec = SPEC.model_copy(update={"offline": SPEC.offline.model_copy(update={"copies": 1})})
    elif change == "photo":
        (source / "cats" / "000.jpg").write_bytes((source / "cats" / "001.jpg").read_bytes())
        dataset = parted(source)
    else:
        dataset = assign_splits(load_dataset(source), SplitSpec(train=0.5, val=0.25, test=0.25), seed=5)
    with pytest.raises(AssayError, match="was begun with other"):
        write_augmented_dataset(dataset, spec, out, seed=seed)
    assert contents(out) == before


def test_folder_with_other_files_is_rejected(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("out", "file", "file/below"):
        with pytest.raises(AssayError, match=r"holds something else|cannot be written"):
            write_augmented_dataset(parted(source), SPEC, tmp_path / name, seed=1)
    assert contents(tmp_path / "out").keys() == {"mine.txt"}


@pytest.mark.parametrize("place", [".", "out", "cats", "cats/out", "..", "../linked/out"])
def test_output_inside_the_source_is_rejected(source: Path, place: str) -> None:
    (source.parent / "linked").symlink_to(source)
    before = contents(source)
    with pytest.raises(UsageError, match="lie within each other"):
        write_augmented_dataset(parted(source), SPEC, source / place, seed=1)
    assert contents(source) == before
    assert sorted(path.name for path in source.iterdir()) == ["cats", "dogs"]


def test_image_changed_during_the_run_raises(source: Path, tmp_path: Path) -> None:
    dataset = parted(source)
    (source / "cats" / "000.jpg").write_bytes((source / "cats" / "001.jpg").read_bytes())
    with pytest.raises(AssayError, match=r"000\.jpg was changed"):
        write_augmented_dataset(dataset, SPEC, tmp_path / "out", seed=1)
    (source / "cats" / "000.jpg").unlink()
    with pytest.raises(AssayError, match=r"000\.jpg cannot be read"):
        write_augmented_dataset(dataset, SPEC, tmp_path / "other", seed=1)


def test_unwritable_folder_raises(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_augmented_dataset(parted(source), SPEC, out, seed=1)
    (out / "train" / "cats").rename(out / "train" / "moved")
    (out / "train" / "cats").write_text("a file in place of a folder")
    with pytest.raises(AssayError, match="cannot be"):
        write_augmented_dataset(parted(source), SPEC, out, seed=1)


def test_recipe_without_augmentation_is_rejected(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"augment\.train is empty"):
        write_augmented_dataset(parted(source), AugmentSpec(), tmp_path / "out", seed=1)
    assert not (tmp_path / "out").exists()


def test_samples_without_a_split_are_rejected(source: Path, tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="belongs to no split"):
        write_augmented_dataset(load_dataset(source), SPEC, tmp_path / "out", seed=1)


def sample(name: str, label: str = "cats") -> Sample:
    return Sample(name, Path(__file__), label, "train")


@pytest.mark.parametrize("label", ["..", ".", ".hidden", "a/b", "a\\b", "a\0b", "/etc"])
def test_labels_that_are_no_folder_names_are_rejected(label: str) -> None:
    with pytest.raises(AssayError, match="cannot be a folder's name"):
        plan_output_files([sample("1.jpg", label)])


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "a/", "b/"]), st.text("aA_ug1.é/\\\n🐱", min_size=1, max_size=90)),
        min_size=1,
        max_size=12,
        unique=True,
    )
)
def test_file_names_are_unique(names: list[tuple[str, str]]) -> None:
    targets = plan_output_files([sample("".join(name)) for name in dict.fromkeys(map("".join, names))])
    paths = [item.path for target in targets for item in (target, *map(target.changed, range(1, 30)))]
    assert len({path.casefold() for path in paths}) == len(paths)
    for path in paths:
        part, label, name = path.split("/")
        assert (part, label) == ("train", "cats")
        assert len(name.encode()) < 255
        assert not name.startswith(".")
        assert name.isprintable()


def test_bottle_recipe_on_real_images(bottles: Path, tmp_path: Path) -> None:
    recipe = load_recipe("bottle", ["augment.offline.copies=1"])
    dataset = assign_splits(load_dataset(bottles), recipe.data.split, seed=0)
    before = contents(bottles)
    written = write_augmented_dataset(dataset, recipe.augment, tmp_path / "out", seed=0)
    assert contents(bottles) == before
    augmented = load_dataset(tmp_path / "out")
    assert not augmented.unreadable
    assert len(augmented) == written.originals + written.copies
    assert {inspect(item.read()).height for item in augmented.samples} == {1920}
    assert written.originals == len(dataset)
    assert not any("_aug" in item.id for item in augmented.part("test"))


def test_copies_keep_the_size_when_cropped(source: Path, tmp_path: Path) -> None:
    recipe = load_recipe("button-cell")
    write_augmented_dataset(parted(source), recipe.augment, tmp_path / "out", seed=0)
    sizes = {decode(path.read_bytes()).shape for path in (tmp_path / "out").rglob("*.jpg")}
    assert sizes == {(16, 24, 3)}


# --- the contact sheet


def test_contact_sheet_shows_training_images(source: Path) -> None:
    recipe = load_recipe("bottle")
    photos = pick_images(source, 3, seed=0)
    sheet = draw_augmentation_sheet(photos, recipe, variants=4, seed=0)
    pixels = np.asarray(sheet)
    assert sheet.mode == "RGB"
    assert pixels.shape[1] == 10 + 5 * 202
    assert np.array_equal(pixels, np.asarray(draw_augmentation_sheet(photos, recipe, variants=4, seed=0)))
    assert not np.array_equal(pixels, np.asarray(draw_augmentation_sheet(photos, recipe, variants=4, seed=1)))


def test_contact_sheet_without_transforms_repeats_the_original(source: Path) -> None:
    recipe = load_recipe("defect", ["preprocess.size=192"])
    sheet = np.asarray(draw_augmentation_sheet(pick_images(source, 1, seed=0), recipe, variants=2, seed=0))
    first, *others = (sheet[80:240, 10 + n * 202 : 202 + n * 202] for n in range(3))
    rows = slice(10, 100)
    assert all(np.array_equal(first[rows, 5:-5], other[rows, 5:-5]) for other in others)


def test_captions_of_any_length_and_script_are_drawn(source: Path) -> None:
    data = (source / "cats" / "000.jpg").read_bytes()
    photos = [SheetImage("x" * 500, data), SheetImage("Größe ½ × Пример/日本.jpg", data), SheetImage("", data)]
    assert draw_augmentation_sheet(photos, load_recipe("bottle"), variants=1, seed=0).height > 3 * 192


def test_contact_sheet_covers_all_classes(class_folders: MakeFolders) -> None:
    root = class_folders(a=20, b=1, c=20)
    (root / "b" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    chosen = pick_images(root, 5, seed=3)
    assert Counter(photo.caption.split("/")[0] for photo in chosen) == {"a": 2, "b": 1, "c": 2}
    assert pick_images(root, 5, seed=3) == chosen
    assert len(pick_images(root, 100, seed=3)) == 41


def test_contact_sheet_of_one_image_or_an_unlabelled_folder(source: Path, tmp_path: Path) -> None:
    assert [item.caption for item in pick_images(source / "cats" / "000.jpg", 4, seed=0)] == ["000.jpg"]
    assert len(pick_images(source / "cats", 4, seed=0)) == 4
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssayError, match="no photo"):
        pick_images(tmp_path / "empty", 4, seed=0)


TOP = PreprocessSpec(roi=(0, 0, 1, 0.3))


def cropped_contents(folder: Path) -> dict[str, str]:
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
def crop_source(tmp_path: Path) -> Path:
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
def dataset(crop_source: Path) -> Dataset:
    return load_dataset(crop_source)


def crop(dataset: Dataset, to: Path, spec: PreprocessSpec = TOP) -> CroppedDataset:
    return write_cropped_dataset(dataset, spec, OfflineSpec(), to)


def test_cropping_writes_the_region_into_the_same_folders(crop_source: Path, dataset: Dataset, tmp_path: Path):
    before = cropped_contents(crop_source)
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
    assert cropped_contents(crop_source) == before


def test_quality_and_compression_come_from_the_recipe(dataset: Dataset, tmp_path: Path):
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
def test_region_equals_the_training_input(dataset: Dataset, tmp_path: Path, roi: tuple[float, float, float, float]):
    spec = PreprocessSpec(roi=roi, resize_mode="stretch", center_crop=1)
    crop(dataset, tmp_path / "out", spec.model_copy(update={"center_crop": 0.5, "resize_mode": "crop"}))
    with Image.open(tmp_path / "out/open/plain.png") as part:
        left, top, right, bottom = Preprocess(spec).box(50, 100)
        assert part.size == (right - left, bottom - top)


def test_existing_splits_and_groups_are_kept_in_the_manifest(dataset: Dataset, tmp_path: Path):
    parted = dataset.with_samples(
        replace(sample, split="train" if "plain" in sample.id else "test", group=f"g{sample.label}")
        for sample in dataset.samples
    )
    written = crop(parted, tmp_path / "out")
    assert (tmp_path / "out/train/open/plain.png").is_file()
    saved = read_manifest(written.manifest, dataset.classes)
    assert {(item.split, item.group) for item in saved.samples} == {
        (part, group) for part in ("train", "test") for group in ("gopen", "gclosed")
    }


def test_cropping_resumes_and_repairs_broken_files(dataset: Dataset, tmp_path: Path):
    out = tmp_path / "processed"
    crop(dataset, out)
    whole = cropped_contents(out)
    (out / "open/odd.jpg").unlink()
    (out / "closed/plain.png").write_bytes((out / "closed/plain.png").read_bytes()[:60])
    (out / "open/.odd-x1y2.jpg").write_bytes(b"half")
    assert crop(dataset, out).kept == 9
    assert cropped_contents(out) == whole
    with pytest.raises(AssayError, match="other photos, settings or seed"):
        crop(dataset, out, PreprocessSpec(roi=(0, 0, 1, 0.4)))


def test_invalid_crops_are_rejected(crop_source: Path, dataset: Dataset, tmp_path: Path):
    with pytest.raises(UsageError, match="whole photo"):
        crop(dataset, tmp_path / "out", PreprocessSpec())
    with pytest.raises(UsageError, match="lie within each other"):
        crop(dataset, crop_source / "processed")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(AssayError, match="holds something else"):
        crop(dataset, tmp_path / "mine")
    assert not (crop_source / "processed").exists()
    (crop_source / "open/plain.png").write_bytes((crop_source / "open/glass.png").read_bytes())
    with pytest.raises(AssayError, match="was changed while it was in use"):
        crop(dataset, tmp_path / "out")


def test_caps_of_the_bottles_are_cropped(bottles: Path, tmp_path: Path):
    written = crop(load_dataset(bottles), tmp_path / "processed")
    assert written.photos == 20
    sizes = set()
    for path in (tmp_path / "processed").glob("*/*"):
        with Image.open(path) as part:
            sizes.add(part.size)
    assert sizes == {(1080, 576)}
