"""`assay augment`: augmented copies on disk with a manifest, and a contact sheet of augmentations."""

import hashlib
import itertools
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError, UsageError
from assay.core.progress import Progress, no_progress
from assay.core.tables import write_json
from assay.data.augmented_file_writer import FileWriter, OutputFile, plan_output_files
from assay.data.dataset import Dataset, Sample, Split
from assay.data.loading import list_source
from assay.data.manifest import write_manifest
from assay.image import HEAD_BYTES, DecodeError, Preprocess, decode, sniff
from assay.image.augmentation import Augment
from assay.image.contact_sheet import CaptionLine, ContactSheet, Tile
from assay.image.ignore_rules import SkippedFiles
from assay.image.image_files import list_folder_content, walk_images
from assay.recipe import AugmentSpec, Layout, OfflineSpec, PreprocessSpec, Recipe

_SIDE = 192
_GAP = 10


class SheetImage(NamedTuple):
    """One image of the sheet."""

    caption: str
    data: bytes
    """Bytes of the file."""


def pick_images(data: Path, count: int, seed: int, layout: Layout = "auto") -> list[SheetImage]:
    """Choose up to `count` random images, from all classes in turn; unreadable ones are skipped.

    `data` is what `scan` reads, a folder of images without classes, or one image. Raises `AssayError` if no image
    can be read.
    """
    photos = list(islice(_readable(_interleave_classes(_list_candidates(data, layout), seed)), count))
    if not photos:
        raise AssayError(f"{data} holds no photo that can be read")
    return photos


def _list_candidates(data: Path, layout: Layout) -> list[Sample]:
    if data.is_dir() and not list_folder_content(data, SkippedFiles()).folders:
        return [Sample(path.name, path, "") for path in walk_images(data, SkippedFiles())]
    if data.is_file():
        with data.open("rb") as stream:
            if sniff(stream.read(HEAD_BYTES)):
                return [Sample(data.name, data, "")]
    return list_source(data, layout).samples


def _interleave_classes(samples: Sequence[Sample], seed: int) -> Iterator[Sample]:
    classes: dict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.id):
        classes[sample.label].append(sample)
    dice = random.Random(seed)  # noqa: S311 - not used for security
    for members in classes.values():
        dice.shuffle(members)
    rounds = zip_longest(*(classes[label] for label in sorted(classes)))
    return (sample for sample in chain.from_iterable(rounds) if sample is not None)


def _readable(samples: Iterator[Sample]) -> Iterator[SheetImage]:
    for sample in samples:
        try:
            data = sample.read()
            decode(data, value_range="minmax")
        except (OSError, DecodeError):
            continue
        yield SheetImage(sample.id, data)


def draw_augmentation_sheet(photos: Sequence[SheetImage], recipe: Recipe, variants: int, seed: int) -> Image.Image:
    """Draw one row per image: the unchanged input of the network, then `variants` augmented inputs, as RGB.

    All steps are those of training: region, fit and size, canvas, transforms.

    Raises:
        DecodeError: an image cannot be read.
        UsageError: a transform's values are invalid.
    """
    plain = Preprocess(recipe.preprocess)
    canvas = plain.scaled(recipe.augment.input_scale)
    augment = Augment(recipe.augment.train, recipe.preprocess.size)
    tiles = []
    for row, photo in enumerate(photos):
        pixels = canvas.read(photo.data)
        images = [plain.read(photo.data)]
        images += [augment(pixels, seed + row * variants + number) for number in range(variants)]
        tiles.append(Tile(tuple(map(_resize, images)), (CaptionLine(photo.caption),)))
    names = ", ".join(spec.name for spec in recipe.augment.train) or "no transforms"
    headings = [f"original, {plain.size} × {plain.size}", *(f"variant {number}" for number in range(1, variants + 1))]
    return ContactSheet(tiles, 1, _SIDE, note=f"{recipe.name}: {names}", headings=headings, gap=_GAP, seam=_GAP).draw()


def _resize(pixels: np.ndarray) -> np.ndarray:
    # Small images are enlarged without smoothing, so that their pixels can be seen.
    small = pixels.shape[0] < _SIDE
    return np.asarray(
        Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)
    )


PLAN_FILE = ".augment.json"
"""File in the folder with the settings of its content, so that another run can resume."""


@dataclass(frozen=True)
class AugmentedDataset:
    """Counts of an augmented data set."""

    manifest: Path
    originals: int
    copies: int
    kept: int
    """Files of an earlier run that were intact."""


def write_augmented_dataset(
    dataset: Dataset,
    spec: AugmentSpec,
    to: Path,
    seed: int,
    *,
    value_range: tuple[float, float] | None = None,
    progress: Progress = no_progress,
) -> AugmentedDataset:
    """Write every image and its augmented copies as `<split>/<class>/` folders with a manifest.

    Training images get copies changed by `spec.train`, validation images by `spec.val`, test images none. All
    originals are written before any copy. JPEG stays JPEG, other formats become PNG; an upright 24-bit RGB image that
    is not too large is copied byte for byte. Copies have the size of their original and stay in its split.

    Args:
        dataset: verified images, each with its split.
        spec: transforms and file settings.
        to: a new or empty folder, or one that an interrupted call with the same arguments left.
        seed: determines the changes, together with image id and copy number.
        value_range: the recipe's `preprocess.value_range`.
        progress: called with the step, the number done and the total.

    Returns:
        Counts and the manifest; its groups are those of the data, or else each original with its copies.

    Raises:
        UsageError: the recipe changes nothing, or `to` is inside the source or contains it.
        AssayError: `to` has other content, or an image cannot be read or written.
    """
    if not spec.train:
        raise UsageError("the recipe's augment.train is empty; choose one that changes photos, as -r bottle")
    check_outside_source(dataset, to)
    start_or_resume(
        dataset,
        to,
        {"augment": spec.model_dump(mode="json"), "seed": seed, "value_range": list(value_range or ())},
    )
    counts: dict[Split | None, int] = {
        "train": spec.offline.copies,
        "val": spec.offline.copies if spec.val else 0,
        "test": 0,
    }
    originals = plan_output_files(dataset.samples)
    copies = [[target.changed(copy) for copy in range(1, counts[target.split] + 1)] for target in originals]
    tasks = [[target] for target in originals] + [family for family in copies if family]
    kept = write_files(FileWriter(spec, to, seed, value_range=value_range), tasks, progress, "augmenting")
    targets = list(itertools.chain.from_iterable(tasks))
    manifest = to / "manifest.csv"
    written = replace(dataset, root=to).with_samples(written_sample(target, to) for target in targets)
    write_manifest(written, manifest)
    return AugmentedDataset(manifest, len(originals), len(targets) - len(originals), kept)


def write_files(writer: FileWriter, tasks: Sequence[Sequence[OutputFile]], progress: Progress, what: str) -> int:
    """Write on all cores, in the given order; return how many files already existed."""
    kept = done = 0
    total = sum(map(len, tasks))
    # Threads suffice: decoding, augmenting and encoding release the GIL.
    with ThreadPoolExecutor(cpu_count()) as pool:
        for task, found in zip(tasks, pool.map(writer.write, tasks), strict=True):
            kept += found
            done += len(task)
            progress(what, done, total)
    return kept


def check_outside_source(dataset: Dataset, to: Path) -> None:
    """Raise `UsageError` if a folder is inside the source folders or contains them."""
    folder = to.resolve()
    for place in {dataset.root.resolve(), *(sample.path.resolve().parent for sample in dataset.samples)}:
        if folder == place or folder in place.parents or place in folder.parents:
            raise UsageError(f"{to} and the source photos in {place} lie within each other; choose another")


def start_or_resume(dataset: Dataset, to: Path, settings: Mapping[str, object]) -> None:
    """Record the settings of a folder, or check that it was started with the same.

    `to` is a new, empty or started folder; `settings` is all that the files depend on besides the images, as plain
    JSON. Raises `AssayError` if the folder has other content or cannot be written.
    """
    parts = "\n".join(f"{sample.id}\0{sample.split}\0{sample.group}" for sample in dataset.samples)
    plan = {
        "photos": dataset.fingerprint,
        "parts": hashlib.sha256(parts.encode()).hexdigest(),
        **settings,
    }
    try:
        if not to.exists() or not any(to.iterdir()):
            write_json(to / PLAN_FILE, plan)
            return
        begun = json.loads((to / PLAN_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise AssayError(f"{to} holds something else; choose a new folder") from None
    except OSError as error:
        raise AssayError(f"{to} cannot be written ({error.strerror}); choose another folder") from None
    if begun != plan:
        raise AssayError(f"{to} was begun with other photos, settings or seed; choose another, or delete it")
    for leftover in (*to.glob("*/.*-*"), *to.glob("*/*/.*-*")):  # temporary files of a run that was killed
        leftover.unlink(missing_ok=True)


def written_sample(target: OutputFile, to: Path) -> Sample:
    """Return the sample of a written file."""
    source = target.sample
    return Sample(
        id=target.path,
        path=to / target.path,
        label=source.label,
        split=source.split,
        group=source.group or source.id,
        source_label=source.source_label,
    )


_FULL_IMAGE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class CroppedDataset:
    """Counts of a cropped data set."""

    manifest: Path
    photos: int
    kept: int
    """Files of an earlier run that were intact."""


def write_cropped_dataset(
    dataset: Dataset,
    spec: PreprocessSpec,
    offline: OfflineSpec,
    to: Path,
    *,
    progress: Progress = no_progress,
) -> CroppedDataset:
    """Write the region of interest of every image into `<class>/` folders, with a manifest.

    The region is that of training and prediction, in whole pixels of the upright image (partly covered pixels are
    included); centre crop and size are left to training. JPEG stays JPEG, other formats become PNG, both with 24
    bits. Existing splits stay folders: `<split>/<class>/`.

    Args:
        dataset: verified images, with groups if the manifest should contain them.
        spec: contains the region.
        offline: JPEG quality, PNG level, and the longest side in pixels.
        to: a new or empty folder, or one that an interrupted call with the same arguments left.
        progress: called with the step, the number done and the total.

    Raises:
        UsageError: the region is the whole image, or `to` is inside the source or contains it.
        AssayError: `to` has other content, or an image cannot be read or written.
    """
    if spec.roi == _FULL_IMAGE:
        raise UsageError(
            "the recipe's region of interest is the whole photo: set it, as --set 'preprocess.roi=[0,0,1,0.3]'"
        )
    check_outside_source(dataset, to)
    region = Preprocess(PreprocessSpec(roi=spec.roi, resize_mode="stretch"))
    start_or_resume(
        dataset,
        to,
        {
            "crop": list(spec.roi),
            "value_range": list(spec.value_range or ()),
            "offline": json.loads(offline.model_dump_json()),
        },
    )
    parts = all(sample.split is not None for sample in dataset.samples)
    targets = plan_output_files(dataset.samples, parts=parts)
    writer = FileWriter(AugmentSpec(offline=offline), to, 0, region.box, value_range=spec.value_range)
    kept = write_files(writer, [[target] for target in targets], progress, "cropping")
    manifest = to / "manifest.csv"
    # Keep the groups of the source, including bursts: the crops have no capture time.
    samples = [replace(written_sample(target, to), group=target.sample.group) for target in targets]
    write_manifest(replace(dataset, root=to).with_samples(samples), manifest)
    return CroppedDataset(manifest, len(targets), kept)
