"""Contact sheet of a recipe's training augmentation: each image beside augmented versions of it."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from assay.core.errors import AssayError
from assay.data.dataset import Sample
from assay.data.loading import list_source
from assay.image import HEAD_BYTES, DecodeError, Preprocess, decode, sniff
from assay.image.augmentation import Augment
from assay.image.contact_sheet import CaptionLine, ContactSheet, Tile
from assay.image.image_files import list_folder_content, walk_images
from assay.image.skipped_files import SkippedFiles
from assay.recipe import Layout, Recipe

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
