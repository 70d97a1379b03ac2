"""From a path to photos that are ready to learn from: read, copies found, shared out.

The one order of these steps, for training, cross-validation and offline augmentation alike; the audit asks
the same functions whether photos can be trained on.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from assay.data.duplicates import near_duplicate_groups
from assay.data.groups import join_groups
from assay.data.samples import Dataset, Split
from assay.data.scan import scan
from assay.data.split import assign_splits
from assay.errors import AssayError, UsageError
from assay.progress import Progress, silent
from assay.recipe import DataSpec
from assay.tables import listed


def read_grouped(
    path: Path,
    spec: DataSpec,
    *,
    classes: Sequence[str] | None = None,
    value_range: tuple[float, float] | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Read labelled photos and join those that show the same picture into groups.

    Copies, near-copies and bursts are found whatever the method of the split, so that a random split can tell
    what it lets leak.

    Args:
        path: what `scan` reads.
        spec: class mapping, and what the folders in a folder are.
        classes: the order of an existing classifier.
        value_range: the recipe's `preprocess.value_range`.
        progress: told while files are opened and compared.

    Raises:
        AssayError: as `scan`.
    """
    dataset = scan(
        path,
        mapping=spec.mapping,
        classes=classes,
        layout=spec.layout,
        value_range=value_range,
        progress=progress,
    )
    return join_groups(dataset, near_duplicate_groups(dataset.samples, progress=progress))


def prepare(
    path: Path,
    spec: DataSpec,
    seed: int,
    *,
    like: Mapping[str, Split] | None = None,
    value_range: tuple[float, float] | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Read labelled photos and give every one its part; photos of one group share a part.

    Args:
        path: what `scan` reads.
        spec: class mapping, what the folders in a folder are, shares and method of the split.
        seed: decides between equals.
        like: parts of an earlier run by id, which stay as they are.
        value_range: the recipe's `preprocess.value_range`.
        progress: told while files are opened and compared.

    Raises:
        AssayError: as `scan` and `assign_splits`.
    """
    return assign_splits(
        read_grouped(path, spec, value_range=value_range, progress=progress), spec.split, seed, like
    )


def ready_to_train(dataset: Dataset, alike: Iterable[Collection[str]], spec: DataSpec, seed: int) -> Dataset:
    """Share out photos that were read, and refuse what training would refuse.

    Args:
        dataset: readable photos with their classes.
        alike: ids of photos that show the same picture, group by group.
        spec: shares and method of the split, and the class that is looked for.
        seed: decides between equals.

    Returns:
        The data set that training would get, with its warnings.

    Raises:
        AssayError: training would refuse the photos, with the same sentence.
    """
    result = assign_splits(join_groups(dataset, alike), spec.split, seed)
    refuse_untrainable(result, spec)
    return result


def refuse_untrainable(dataset: Dataset, spec: DataSpec) -> None:
    """Refuse photos that no training can use.

    Raises:
        UsageError: the class that is looked for is not in the data.
        AssayError: no photo has the part train, or none the part val.
    """
    positive = spec.positive
    if positive is not None and positive not in dataset.classes:
        names = listed(dataset.classes)
        raise UsageError(
            f"the recipe looks for the class {positive!r}, which is none of {names}:"
            f" name one with --set 'data.positive={dataset.classes[-1]}', or none with data.positive=null"
        )
    if any(sample.split is not None for sample in dataset.samples):
        for part, name in (("train", "training"), ("val", "validation")):
            if not any(sample.split == part for sample in dataset.samples):
                raise AssayError(f"there are no {name} photos: change data.split or add photos")
