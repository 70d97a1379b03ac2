"""From a path to photos that are ready to learn from: read, copies found, shared out.

The one order of these steps, for training, cross-validation and offline augmentation alike.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from assay.data.duplicates import near_duplicate_groups
from assay.data.groups import join_groups
from assay.data.samples import Dataset, Split
from assay.data.scan import scan
from assay.data.split import assign_splits
from assay.progress import Progress, silent
from assay.recipe import DataSpec


def read_grouped(
    path: Path, spec: DataSpec, *, classes: Sequence[str] | None = None, progress: Progress = silent
) -> Dataset:
    """Read labelled photos and join those that show the same picture into groups.

    Copies, near-copies and bursts are found whatever the method of the split, so that a random split can tell
    what it lets leak.

    Args:
        path: what `scan` reads.
        spec: class mapping, and what the folders in a folder are.
        classes: the order of an existing classifier.
        progress: told while files are opened and compared.

    Raises:
        AssayError: as `scan`.
    """
    dataset = scan(path, mapping=spec.mapping, classes=classes, layout=spec.layout, progress=progress)
    return join_groups(dataset, near_duplicate_groups(dataset.samples, progress=progress))


def prepare(
    path: Path,
    spec: DataSpec,
    seed: int,
    *,
    like: Mapping[str, Split] | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Read labelled photos and give every one its part; photos of one group share a part.

    Args:
        path: what `scan` reads.
        spec: class mapping, what the folders in a folder are, shares and method of the split.
        seed: decides between equals.
        like: parts of an earlier run by id, which stay as they are.
        progress: told while files are opened and compared.

    Raises:
        AssayError: as `scan` and `assign_splits`.
    """
    return assign_splits(read_grouped(path, spec, progress=progress), spec.split, seed, like)
