"""The figures of the search for copies, measured on real photos; prints a table.

Run as `python benchmarks/duplicates.py DATA`, where DATA is the folder with `cifar10.tar.xz`, `bottles.tar`
and `button_cells.tar`; `elpv-dataset` and `imagehash` must be installed. Copies are planted into 2,000
photos: 1,000 solar cells (300 pixels), one bottle of each burst, the different button cells, the rest
CIFAR-10 (32 pixels). Every copy is changed by one to four of: crop of up to 5 % of each side, scale 0.5 to 2,
brightness 0.8 to 1.2, JPEG quality 30 to 90. Right is a pair of one photo and its copy; every other pair of
files that is called copies counts as wrong.
"""

import argparse
import io
import os
import random
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import elpv_dataset
import imagehash
import numpy as np
from PIL import Image, ImageEnhance
from processes import memory

from assay.data.check import check
from assay.data.check_result import FindingKind
from assay.data.dataset import Sample
from assay.data.image_feature_cache import open_feature_store
from assay.data.image_scan import scan_images
from assay.data.near_duplicates import find_near_duplicates

_CHANGES = ("crop", "scale", "brightness", "jpeg")
_CELLS = Path(elpv_dataset.__file__).parent / "data" / "images"
_RADII = (0, 2, 4, 6, 8, 10)


class Verdict(NamedTuple):
    """How well a method found the planted copies.

    Attributes:
        recall: share of the planted pairs that it linked.
        precision: share of the pairs it linked that were planted.
    """

    recall: float
    precision: float


def changed(path: Path, target: Path, rng: random.Random) -> None:
    """Write a copy of a photo that was changed at random."""
    image = Image.open(path).convert("RGB")
    changes = set(rng.sample(_CHANGES, rng.randint(1, len(_CHANGES))))
    if "crop" in changes:
        width, height = (round(side * rng.uniform(0.95, 1)) for side in image.size)
        left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
        image = image.crop((left, top, left + width, top + height))
    if "scale" in changes:
        scale = 2 ** rng.uniform(-1, 1)
        how = rng.choice([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
        image = image.resize((round(image.width * scale), round(image.height * scale)), how)
    if "brightness" in changes:
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.8, 1.2))
    stream = io.BytesIO()
    if "jpeg" in changes:
        image.save(stream, "JPEG", quality=rng.randint(30, 90))
    else:
        image.save(stream, "PNG")
    target.write_bytes(stream.getvalue())


def planted(sources: Sequence[Path], folder: Path, seed: int) -> list[Sample]:
    """Copy photos to a folder, each with a changed copy; the id begins with the photo's number."""
    rng = random.Random(seed)  # noqa: S311
    folder.mkdir()
    samples = []
    for number, path in enumerate(sources):
        original, copy = folder / f"{number:05} original", folder / f"{number:05} copy"
        shutil.copyfile(path, original)
        changed(path, copy, rng)
        samples += [Sample(item.name, item, "photo") for item in (original, copy)]
    return samples


def judged(pairs: Iterable[tuple[str, str]], count: int) -> Verdict:
    """Compare linked pairs of ids with what was planted."""
    found = {tuple(sorted(pair)) for pair in pairs}
    right = sum(first[:5] == second[:5] for first, second in found)
    return Verdict(right / count, right / max(len(found), 1))


def ours(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """Return the pairs that Assay links."""
    with tempfile.TemporaryDirectory() as cache, open_feature_store(Path(cache)) as store:
        photos = scan_images(samples, store).images
        links = find_near_duplicates(photos, store, bursts=False).links
    return [(photos[link.first].sample.id, photos[link.second].sample.id) for link in links]


def hashed(samples: Sequence[Sample]) -> dict[int, list[tuple[str, str]]]:
    """Return the pairs within each radius of imagehash's 64-bit pHash."""
    bits = np.array([imagehash.phash(Image.open(item.path)).hash.ravel() for item in samples], np.float32)
    distance = bits.sum(1)[:, None] + bits.sum(1) - 2 * bits @ bits.T
    first, second = np.triu_indices(len(samples), 1)
    near = distance[first, second]
    return {
        radius: [(samples[first[place]].id, samples[second[place]].id) for place in np.flatnonzero(near <= radius)]
        for radius in _RADII
    }


def sources_of(data: Path, scratch: Path, rng: random.Random) -> dict[str, list[Path]]:
    """Unpack the archives; return the photos of each, without files that are byte for byte the same."""
    for name in ("bottles.tar", "button_cells.tar", "cifar10.tar.xz"):
        with tarfile.open(data / name) as archive:
            archive.extractall(scratch, filter="data")
    cells = sorted(_CELLS.glob("*.png"))
    cifar = sorted((scratch / "cifar10").rglob("*.jpg"))
    buttons = sorted((scratch / "button_cells").rglob("*.jp*g"))
    # One picture twice: what is in the photos already must not count as wrong.
    buttons = [path for path in buttons if path.parts[-2:] != ("top_view", "22.jpg")]
    products = sorted({path.read_bytes(): path for path in buttons}.values())
    products += apart(sorted((scratch / "bottles").rglob("*.jpg"), key=lambda path: int(path.stem)))
    return {
        "mixed": [*rng.sample(cifar, 2000 - 1000 - len(products)), *rng.sample(cells, 1000), *products],
        "solar cells": rng.sample(cells, 2000),
        "CIFAR-10": rng.sample(cifar, 2000),
    }


def apart(bottles: Sequence[Path]) -> list[Path]:
    """Return the first photo of each burst; the names are milliseconds, in ascending order."""
    moments = [int(path.stem) for path in bottles]
    return [path for path, before, now in zip(bottles, [0, *moments], moments, strict=False) if now - before > 2000]


def planting(data: Path, scratch: Path) -> None:
    """Print recall and precision on planted copies, ours and the perceptual hash's."""
    rng = random.Random(0)  # noqa: S311
    print(f"{'copies planted in 2,000 photos':29}  recall  precision")
    for name, sources in sources_of(data, scratch, rng).items():
        samples = planted(sources, scratch / f"planted {name}", seed=1)
        verdict = judged(ours(samples), len(sources))
        print(f"{name:29}  {verdict.recall:.4f}  {verdict.precision:.4f}")
        for radius, pairs in hashed(samples).items():
            other = judged(pairs, len(sources))
            print(f"    pHash, radius {radius:2}           {other.recall:.4f}  {other.precision:.4f}")


def different_cells() -> None:
    """Print how many pairs of different solar cells are called copies."""
    samples = [Sample(path.name, path, "cell") for path in sorted(_CELLS.glob("*.png"))]
    with tempfile.TemporaryDirectory() as cache, open_feature_store(Path(cache)) as store:
        photos = scan_images(samples, store).images
        groups = find_near_duplicates(photos, store, bursts=False).groups()
    wrong = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    every = len(photos) * (len(photos) - 1) // 2
    print(f"pairs of different solar cells in one group: {wrong} of {every:,}", end="")
    print(f" ({1e5 * wrong / every:.2f} in 100,000); largest group {max(map(len, groups), default=1)}")


def groups_found(scratch: Path) -> None:
    """Print the identical and burst groups of the products' photos."""
    for name, kind in (("button_cells", FindingKind.identical), ("bottles", FindingKind.burst)):
        with tempfile.TemporaryDirectory() as cache:
            finding = check(scratch / name, cache=Path(cache)).of(kind)
        sizes = sorted(len(group.photos) for group in finding.groups) if finding else []
        print(f"{kind.value} groups of {name}: {sizes}")


def speed(scratch: Path) -> None:
    """Print how long a whole check of CIFAR-10 takes, and a second one."""
    with tempfile.TemporaryDirectory() as cache:
        for which in ("first", "second"):
            begin, used = time.perf_counter(), time.process_time()
            report = check(scratch / "cifar10", cache=Path(cache))
            seconds, cpu = time.perf_counter() - begin, time.process_time() - used
            print(f"{which} check of {report.photos:,} photos: {seconds:.1f} s ({cpu:.1f} s of processor time)")
    print(f"memory at most: {memory(os.getpid()) >> 20} MB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the archives")
    parser.add_argument("--skip-speed", action="store_true", help="leave out the check of CIFAR-10")
    wanted = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="assay-bench-"))
    try:
        planting(wanted.data, scratch)
        different_cells()
        groups_found(scratch)
        if not wanted.skip_speed:
            speed(scratch)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
