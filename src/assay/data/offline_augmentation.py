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
from assay.data.augmented_files import FileWriter, OutputFile, plan_output_files
from assay.data.dataset import Dataset, Sample, Split
from assay.data.loading import list_source
from assay.data.manifest import write_manifest
from assay.image import HEAD_BYTES, DecodeError, Preprocess, decode, sniff
from assay.image.augmentation import Augment
from assay.image.contact_sheet import CaptionLine, ContactSheet, Tile
from assay.image.image_files import list_folder_content, walk_images
from assay.image.skipped_files import SkippedFiles
from assay.recipe import AugmentSpec, Layout, OfflineSpec, PreprocessSpec, Recipe

_SIDE = 192
_GAP = 10


class SheetImage(NamedTuple):
    """One photo of the sheet."""

    caption: str
    data: bytes
    """The whole file."""


def pick_images(data: Path, count: int, seed: int, layout: Layout = "auto") -> list[SheetImage]:
    """Take photos at random, from all classes in turn; those that cannot be read are skipped.

    Args:
        data: what `scan` reads, or a folder of photos without classes, or one photo.
        count: most photos to take.
        seed: decides which.
        layout: what the folders in a folder are.

    Raises:
        AssayError: no photo can be read.
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
    dice = random.Random(seed)  # noqa: S311 - which photos are shown is no secret
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
    """Draw one row a photo: first what the network sees of it unchanged, then as it would be trained on.

    Everything goes the way of training: region, fit and size, the canvas, the transforms in their order.

    Args:
        photos: one or more.
        recipe: whose preprocessing and `augment.train` are shown.
        variants: changed versions of each photo.
        seed: decides the changes.

    Returns:
        RGB picture.

    Raises:
        DecodeError: a photo cannot be read.
        UsageError: a transform's values make no sense.
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
"""File in the folder that says what it is being filled with, so that another run can go on."""


@dataclass(frozen=True)
class AugmentedDataset:
    """Result of writing."""

    manifest: Path
    originals: int
    copies: int
    kept: int
    """Files among them that an earlier run had written and that were found whole."""


def write_augmented_dataset(
    dataset: Dataset,
    spec: AugmentSpec,
    to: Path,
    seed: int,
    *,
    value_range: tuple[float, float] | None = None,
    progress: Progress = no_progress,
) -> AugmentedDataset:
    """Write every photo and its changed copies as `<part>/<class>/` folders with a manifest.

    Photos for training get copies changed by `spec.train`, photos for validation by `spec.val`, photos
    for the test none. All originals are written before any copy. JPEG stays JPEG, everything else becomes
    PNG; a photo that is upright 24-bit RGB and not too large is copied byte for byte. Copies have the width
    and height of their original and stay in its part.

    Args:
        dataset: verified photos, each with its part.
        spec: transforms, and the settings of the files.
        to: a new or empty folder, or one that this function began to fill with the same.
        seed: decides the changes, together with each photo's id and the number of the copy.
        value_range: the recipe's `preprocess.value_range`.
        progress: called with the step, the number done and the total.

    Returns:
        Numbers, and the manifest; its groups are those of the data, or else each original with its copies.

    Raises:
        UsageError: the recipe changes nothing, or `to` lies within the source or around it.
        AssayError: `to` holds something else, or a photo cannot be read or written.
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
    """Write on all cores, in the order given; return how many files were there already."""
    kept = done = 0
    total = sum(map(len, tasks))
    # Threads: decoding, changing and encoding release Python's lock.
    with ThreadPoolExecutor(cpu_count()) as pool:
        for task, found in zip(tasks, pool.map(writer.write, tasks), strict=True):
            kept += found
            done += len(task)
            progress(what, done, total)
    return kept


def check_outside_source(dataset: Dataset, to: Path) -> None:
    """Refuse a folder that lies within the source photos or around them.

    Raises:
        UsageError: it does.
    """
    folder = to.resolve()
    for place in {dataset.root.resolve(), *(sample.path.resolve().parent for sample in dataset.samples)}:
        if folder == place or folder in place.parents or place in folder.parents:
            raise UsageError(f"{to} and the source photos in {place} lie within each other; choose another")


def start_or_resume(dataset: Dataset, to: Path, settings: Mapping[str, object]) -> None:
    """Note what a folder is being filled with, or check that it was begun with the same.

    Args:
        dataset: the photos.
        to: a new or empty folder, or one that was begun.
        settings: what decides the files besides the photos, plain JSON.

    Raises:
        AssayError: the folder holds something else, or cannot be written.
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
    """Return the photo that a target has become."""
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
    """Result of writing."""

    manifest: Path
    photos: int
    kept: int
    """Files among them that an earlier run had written and that were found whole."""


def write_cropped_dataset(
    dataset: Dataset,
    spec: PreprocessSpec,
    offline: OfflineSpec,
    to: Path,
    *,
    progress: Progress = no_progress,
) -> CroppedDataset:
    """Write the region of interest of every photo into `<class>/` folders, with a manifest.

    The region is the one that training and prediction look at, in whole pixels of the upright photo (an edge
    within a pixel counts that pixel in); centre crop and size of the recipe are left to training. JPEG stays
    JPEG, everything else becomes PNG, both with 24 bits. Ready-made parts stay folders: `<part>/<class>/`.

    Args:
        dataset: verified photos, with groups if the manifest shall name them.
        spec: names the region.
        offline: quality of JPEG and level of PNG files, and the longest side in pixels.
        to: a new or empty folder, or one that this function began to fill with the same.
        progress: called with the step, the number done and the total.

    Raises:
        UsageError: the region is the whole photo, or `to` lies within the source or around it.
        AssayError: `to` holds something else, or a photo cannot be read or written.
    """
    if spec.roi == _FULL_IMAGE:
        raise UsageError(
            "the recipe's region of interest is the whole photo: set it, as --set preprocess.roi=[0,0,1,0.3]"
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
    # Groups of the source, bursts too: the crops have lost the time at which they were taken.
    samples = [replace(written_sample(target, to), group=target.sample.group) for target in targets]
    write_manifest(replace(dataset, root=to).with_samples(samples), manifest)
    return CroppedDataset(manifest, len(targets), kept)
