"""Cropping: a folder with the region of interest of every photo, for tools that cannot crop by themselves.

Import it by this name: it brings albumentations. Files are written as those of `augmented` are: whole,
decoded again, and a run that was killed goes on where it stopped. The source photos are only read.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from assay.data.augmented import begin, refuse_source, write_all, written_sample
from assay.data.augmented_files import FileWriter, named_targets
from assay.data.manifest import write_manifest
from assay.data.samples import Dataset
from assay.errors import UsageError
from assay.image import Preprocess
from assay.progress import Progress, silent
from assay.recipe import AugmentSpec, OfflineSpec, PreprocessSpec

_WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Cropped:
    """What was written."""

    manifest: Path
    photos: int
    kept: int
    """Files among them that an earlier run had written and that were found whole."""


def write_cropped(
    dataset: Dataset,
    spec: PreprocessSpec,
    offline: OfflineSpec,
    to: Path,
    *,
    progress: Progress = silent,
) -> Cropped:
    """Write the region of interest of every photo into `<class>/` folders, with a manifest.

    The region is the one that training and prediction look at, in whole pixels of the upright photo (an edge
    within a pixel counts that pixel in); centre crop and size of the recipe are left to training. JPEG stays
    JPEG, everything else becomes PNG, both with 24 bits. Ready-made parts stay folders: `<part>/<class>/`.

    Args:
        dataset: verified photos, with groups if the manifest shall name them.
        spec: names the region.
        offline: quality of JPEG and level of PNG files, and the longest side in pixels.
        to: a new or empty folder, or one that this function began to fill with the same.
        progress: told files finished and in all.

    Raises:
        UsageError: the region is the whole photo, or `to` lies within the source or around it.
        AssayError: `to` holds something else, or a photo cannot be read or written.
    """
    if spec.roi == _WHOLE:
        raise UsageError(
            "the recipe's region of interest is the whole photo: set it, as --set preprocess.roi=[0,0,1,0.3]"
        )
    refuse_source(dataset, to)
    region = Preprocess(PreprocessSpec(roi=spec.roi, fit="squash"))
    begin(
        dataset,
        to,
        {
            "crop": list(spec.roi),
            "value_range": list(spec.value_range or ()),
            "offline": json.loads(offline.model_dump_json()),
        },
    )
    parts = all(sample.split is not None for sample in dataset.samples)
    targets = named_targets(dataset.samples, parts=parts)
    writer = FileWriter(AugmentSpec(offline=offline), to, 0, region.box, value_range=spec.value_range)
    kept = write_all(writer, [[target] for target in targets], progress, "cropping")
    manifest = to / "manifest.csv"
    # Groups of the source, bursts too: the crops have lost the time at which they were taken.
    samples = [replace(written_sample(target, to), group=target.sample.group) for target in targets]
    write_manifest(replace(dataset, root=to).with_samples(samples), manifest)
    return Cropped(manifest, len(targets), kept)
