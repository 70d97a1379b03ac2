"""Offline augmentation: a folder of photos and changed copies, for tools that cannot augment as they train.

Import it by this name: it brings albumentations. The source photos are only read. Every file is written whole
and decoded again; a run that was killed goes on where it stopped, and the same seed gives the same bytes.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from assay.data.augmented_files import FileWriter, Target, named_targets
from assay.data.manifest import write_manifest
from assay.data.samples import Dataset, Sample, Split
from assay.errors import AssayError, UsageError
from assay.files import write_text
from assay.progress import Progress, silent
from assay.recipe import AugmentSpec

PLAN = ".augment.json"
"""File in the folder that says what it is being filled with, so that another run can go on."""


@dataclass(frozen=True)
class Augmented:
    """What was written."""

    manifest: Path
    originals: int
    copies: int
    kept: int
    """Files among them that an earlier run had written and that were found whole."""


def write_augmented(
    dataset: Dataset,
    spec: AugmentSpec,
    to: Path,
    seed: int,
    *,
    value_range: tuple[float, float] | None = None,
    progress: Progress = silent,
) -> Augmented:
    """Write every photo and its changed copies as `<part>/<class>/` folders with a manifest.

    Photos for training get copies changed by `spec.train`, photos for validation by `spec.limited`, photos
    for the test none. All originals are written before any copy. JPEG stays JPEG, everything else becomes
    PNG; a photo that is upright 24-bit RGB and not too large is copied byte for byte. Copies have the width
    and height of their original and stay in its part.

    Args:
        dataset: verified photos, each with its part.
        spec: transforms, and the settings of the files.
        to: a new or empty folder, or one that this function began to fill with the same.
        seed: decides the changes, together with each photo's id and the number of the copy.
        value_range: the recipe's `preprocess.value_range`.
        progress: told files finished and in all.

    Returns:
        Numbers, and the manifest; its groups are those of the data, or else each original with its copies.

    Raises:
        UsageError: the recipe changes nothing, or `to` lies within the source or around it.
        AssayError: `to` holds something else, or a photo cannot be read or written.
    """
    if not spec.train:
        raise UsageError("the recipe's augment.train is empty; choose one that changes photos, as -r bottle")
    refuse_source(dataset, to)
    begin(
        dataset,
        to,
        {"augment": spec.model_dump(mode="json"), "seed": seed, "value_range": list(value_range or ())},
    )
    counts: dict[Split | None, int] = {
        "train": spec.offline.copies,
        "val": spec.offline.copies if spec.limited else 0,
        "test": 0,
    }
    originals = named_targets(dataset.samples)
    copies = [[one.changed(copy) for copy in range(1, counts[one.split] + 1)] for one in originals]
    tasks = [[one] for one in originals] + [family for family in copies if family]
    kept = write_all(FileWriter(spec, to, seed, value_range=value_range), tasks, progress, "augmenting")
    targets = list(itertools.chain.from_iterable(tasks))
    manifest = to / "manifest.csv"
    written = replace(dataset, root=to).with_samples(written_sample(target, to) for target in targets)
    write_manifest(written, manifest)
    return Augmented(manifest, len(originals), len(targets) - len(originals), kept)


def write_all(writer: FileWriter, tasks: Sequence[Sequence[Target]], progress: Progress, what: str) -> int:
    """Write on all cores, in the order given; return how many files were there already."""
    kept = done = 0
    total = sum(map(len, tasks))
    # Threads: decoding, changing and encoding release Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for task, found in zip(tasks, pool.map(writer.write, tasks), strict=True):
            kept += found
            done += len(task)
            progress(what, done, total)
    return kept


def refuse_source(dataset: Dataset, to: Path) -> None:
    """Refuse a folder that lies within the source photos or around them.

    Raises:
        UsageError: it does.
    """
    folder = to.resolve()
    for place in {dataset.root.resolve(), *(sample.path.resolve().parent for sample in dataset.samples)}:
        if folder == place or folder in place.parents or place in folder.parents:
            raise UsageError(f"{to} and the source photos in {place} lie within each other; choose another")


def begin(dataset: Dataset, to: Path, settings: Mapping[str, object]) -> None:
    """Note what a folder is being filled with, or check that it was begun with the same.

    Args:
        dataset: the photos.
        to: a new or empty folder, or one that was begun.
        settings: what decides the files besides the photos, plain JSON.

    Raises:
        AssayError: the folder holds something else, or cannot be written.
    """
    parts = "\n".join(f"{one.id}\0{one.split}\0{one.group}" for one in dataset.samples)
    plan = {
        "photos": dataset.fingerprint,
        "parts": hashlib.sha256(parts.encode()).hexdigest(),
        **settings,
    }
    try:
        if not to.exists() or not any(to.iterdir()):
            write_text(to / PLAN, json.dumps(plan, indent=2) + "\n")
            return
        begun = json.loads((to / PLAN).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise AssayError(f"{to} holds something else; choose a new folder") from None
    except OSError as error:
        raise AssayError(f"{to} cannot be written ({error.strerror}); choose another folder") from None
    if begun != plan:
        raise AssayError(f"{to} was begun with other photos, settings or seed; choose another, or delete it")
    for leftover in (*to.glob("*/.*-*"), *to.glob("*/*/.*-*")):  # temporary files of a run that was killed
        leftover.unlink(missing_ok=True)


def written_sample(target: Target, to: Path) -> Sample:
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
