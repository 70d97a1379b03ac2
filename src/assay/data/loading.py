"""Load a labelled data set from folders, a manifest or an array file; group near-duplicates; assign splits."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from assay.core.errors import AssayError, UsageError
from assay.core.files import cache_folder, require_regular_file
from assay.core.progress import Progress, no_progress
from assay.core.text_layout import counted, join_names
from assay.data.array_file_datasets import is_array_folder, list_array_file, list_array_folder, mark_tensors
from assay.data.class_folders import Listing, list_folder
from assay.data.dataset import (
    ClassMapping,
    Dataset,
    Sample,
    Split,
    UnreadableFile,
    check_label_collisions,
    class_order,
    empty_classes,
    map_labels,
    quote_names,
)
from assay.data.groups import merge_groups
from assay.data.hf_datasets import TABLE_IMAGES_FOLDER, as_path
from assay.data.image_feature_cache import open_feature_store
from assay.data.image_scan import (
    CONVERT_ADVICE,
    FILE_NOT_FOUND,
    VALUE_RANGE_ADVICE,
    VerifiedFiles,
    scan_images,
    value_range_conflict,
    verify,
)
from assay.data.manifest import MANIFEST_SUFFIXES, list_manifest, list_metadata
from assay.data.near_duplicates import find_near_duplicates
from assay.data.splits import assign_splits, missing_classes_warning
from assay.data.tar_shards import is_shard, is_shard_folder, list_shards
from assay.data.tensor_files import PICKLE_SUFFIXES, TENSOR_SUFFIXES
from assay.recipe import DataSpec, Layout

_ARCHIVE_SUFFIXES = frozenset({".7z", ".bz2", ".gz", ".rar", ".tgz", ".txz", ".xz", ".zip", ".zst"})


def load_dataset(
    path: str | Path,
    *,
    mapping: ClassMapping | None = None,
    classes: Sequence[str] | None = None,
    layout: Layout = "auto",
    value_range: tuple[float, float] | None = None,
    progress: Progress = no_progress,
) -> Dataset:
    """Load a labelled data set; every image has been fully decoded.

    Args:
        path: a folder with class folders, or with train/val/test folders that contain class folders (or labels in
            `metadata.csv` in either case), a manifest (`.csv`, `.jsonl`, `.parquet`), or an array file (`.npz`, `.pt`,
            a folder with `X.npy` and `y.npy`).
        mapping: new class: its source labels; its order becomes the order of the classes.
        classes: the order of an existing classifier; other labels are refused, missing classes give a warning.
        layout: whether the folders in a folder are classes or splits.
        value_range: the recipe's `preprocess.value_range`.
        progress: called with the step, the number done and the total.

    Raises:
        UsageError: `path` does not exist or is a file of another type.
        AssayError: no images, fewer than two classes, a class without images, unknown labels, labels that differ
            only in case, or images whose values would be scaled by different rules.
    """
    listing = list_source(Path(path), layout)
    # Check before any file is opened, since there may be many.
    check_label_collisions(listing.labels)
    verified = verify(listing.samples, progress, value_range)
    return build_dataset(Path(path), listing, verified, mapping, classes, value_range=value_range)


def build_dataset(
    path: Path,
    listing: Listing,
    verified: VerifiedFiles,
    mapping: ClassMapping | None = None,
    classes: Sequence[str] | None = None,
    *,
    value_range: tuple[float, float] | None = None,
) -> Dataset:
    """Create a data set from listed and verified files; other arguments and errors as for `load_dataset`.

    `path` is used in messages only.
    """
    check_label_collisions(listing.labels)
    if not verified.samples:
        raise AssayError(_no_images_message(path, verified))
    if why := value_range_conflict(verified.values, value_range):
        raise AssayError(f"{path}: {why}; {CONVERT_ADVICE if value_range else VALUE_RANGE_ADVICE}")
    labels = listing.labels
    samples = verified.samples
    absent: list[str] = []
    if mapping is not None:
        absent = _unknown_source_warnings(mapping, listing)
        samples = map_labels(samples, mapping)
        labels = [sample.label for sample in samples]
    order = class_order(labels, mapping, classes)
    lacking = _check_classes(order, samples, listing, verified.unreadable, strict=classes is None)
    warnings = [*listing.warnings, *absent, *lacking]
    return Dataset(
        root=listing.root,
        classes=order,
        samples=tuple(sorted(samples, key=lambda sample: sample.id)),
        unreadable=tuple(sorted([*listing.unreadable, *verified.unreadable], key=lambda file: file.id)),
        skipped=dict(sorted((listing.skipped + verified.skipped).items())),
        warnings=tuple(warnings),
    )


def list_source(path: Path, layout: Layout = "auto") -> Listing:
    """List the candidates at a path without checking whether they are images.

    Raises:
        UsageError: `path` does not exist or is a file of another type.
        AssayError: the folder or manifest is invalid.
    """
    suffix = path.suffix.casefold()
    require_regular_file(path)
    if path.is_dir():
        if is_array_folder(path):
            return list_array_folder(path)
        if is_shard_folder(path):
            return list_shards(path)
        return list_metadata(path) or mark_tensors(list_folder(path, layout))
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}; give a folder with one folder of photos per class")
    if suffix in MANIFEST_SUFFIXES:
        # Images stored in a table are written as files first.
        return list_manifest(as_path(path, cache_folder() / TABLE_IMAGES_FOLDER))
    if suffix in TENSOR_SUFFIXES:
        return list_array_file(path)
    if is_shard(path):
        return list_shards(path)
    if suffix in PICKLE_SUFFIXES:
        raise UsageError(f"{path} is a pickle, which can run any code when opened; save the arrays as .npz instead")
    if suffix in _ARCHIVE_SUFFIXES:
        raise UsageError(f"{path} is an archive: unpack it, and give the folder that contains the class folders")
    raise UsageError(
        f"{path} is a file, not data; give a folder with class folders, a .csv, .jsonl or .parquet, or an .npz"
    )


def _check_classes(
    order: Sequence[str],
    samples: Sequence[Sample],
    listing: Listing,
    unreadable: Sequence[UnreadableFile],
    *,
    strict: bool,
) -> list[str]:
    empty = empty_classes(order, samples)
    if not strict:
        return [f"the data has no photo of {quote_names(empty)}"] if empty else []
    if empty:
        labels = {sample.id: sample.label for sample in listing.samples}
        first = next((file for file in unreadable if labels.get(file.id) == empty[0]), None)
        why = f" (the first, {first.id}: {first.reason})" if first else ""
        names, single = quote_names(empty), len(empty) == 1
        subject, rest = (f"class {names} has", "it") if single else (f"classes {names} have", "them")
        raise AssayError(f"{subject} no readable photo in {listing.root}{why}; add photos or remove {rest}")
    if len(order) < 2:
        hint = "add a folder with photos of another class"
        if order[0] in listing.nested:
            inner = listing.root / order[0]
            hint = f"perhaps {inner} was meant" if inner.is_dir() else "perhaps the folders in it are the classes"
        raise AssayError(f"{listing.root} has one class only, {order[0]!r}; {hint}")
    return _missing_class_warnings(order, samples)


def _unknown_source_warnings(mapping: ClassMapping, listing: Listing) -> list[str]:
    """Return a warning if the mapping contains labels that the data lack, possibly misspelt."""
    kept = {sample.source_label for sample in listing.samples if sample.source_label}
    present = kept.union(listing.labels)
    if present <= set(mapping):
        return []
    absent = [source for sources in mapping.values() for source in sources if source not in present]
    return [f"data.class_mapping names {quote_names(absent)}, of which the data has no photo"] if absent else []


def _missing_class_warnings(order: Sequence[str], samples: Sequence[Sample]) -> list[str]:
    seen = Counter((sample.split, sample.label) for sample in samples)
    parts = sorted({split for split, _ in seen if split})
    return [
        missing_classes_warning(part, missing)
        for part in parts
        if (missing := [name for name in order if not seen[part, name]])
    ]


def _no_images_message(path: Path, verified: VerifiedFiles) -> str:
    if not verified.unreadable:
        return f"{path} holds no images, judged by the content of its files; give a folder with photos"
    first = verified.unreadable[0]
    count = len(verified.unreadable)
    hint = "; paths are relative to the table's folder" if path.is_file() and first.reason == FILE_NOT_FOUND else ""
    return f"none of the {counted(count, 'photo')} in {path} can be read (the first, {first.id}: {first.reason}){hint}"


def load_grouped_dataset(
    path: Path,
    spec: DataSpec,
    *,
    classes: Sequence[str] | None = None,
    value_range: tuple[float, float] | None = None,
    keep_bytes: int = 0,
    digests: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> Dataset:
    """Load a data set and group images that show the same picture.

    Copies, near-copies and bursts are found with every split method, so that a random split can report what leaks.
    `digests` and `keep_bytes` are as for `scan_images`, other arguments and errors as for `load_dataset`.
    """
    listing = list_source(path, spec.layout)
    check_label_collisions(listing.labels)
    with open_feature_store() as store:
        scan = scan_images(listing.samples, store, progress, value_range, digests=digests, keep_bytes=keep_bytes)
        dataset = build_dataset(path, listing, scan.verified(), spec.class_mapping, classes, value_range=value_range)
        alike = find_near_duplicates(scan.images, store, progress=progress)
    return merge_groups(dataset, alike.id_groups(scan.images))


def load_split_dataset(
    path: Path,
    spec: DataSpec,
    seed: int,
    *,
    like: Mapping[str, Split] | None = None,
    value_range: tuple[float, float] | None = None,
    keep_bytes: int = 0,
    digests: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> Dataset:
    """Load a data set and assign every image to a split; images of one group share a split.

    `like` maps ids to the splits of an earlier run, which are kept. `digests` and `keep_bytes` are as for
    `scan_images`. Errors as for `load_dataset` and `assign_splits`.
    """
    dataset = load_grouped_dataset(
        path, spec, value_range=value_range, keep_bytes=keep_bytes, digests=digests, progress=progress
    )
    return assign_splits(dataset, spec.split, seed, like)


def split_for_training(dataset: Dataset, alike: Iterable[Collection[str]], spec: DataSpec, seed: int) -> Dataset:
    """Assign splits and raise the same errors as training.

    `alike` contains groups of ids of images that show the same picture.

    Raises:
        AssayError: training would refuse the images.
    """
    result = assign_splits(merge_groups(dataset, alike), spec.split, seed)
    check_trainable(result, spec)
    return result


def check_trainable(dataset: Dataset, spec: DataSpec) -> None:
    """Raise an error for a data set that cannot be trained on.

    Raises:
        UsageError: the positive class is not in the data.
        AssayError: the train or val split is empty, or the train split has only one class.
    """
    positive = spec.positive_class
    if positive is not None and positive not in dataset.classes:
        names = join_names(dataset.classes)
        raise UsageError(
            f"the recipe looks for the class {positive!r}, which is none of {names}:"
            f" name one with --set 'data.positive_class={dataset.classes[-1]}', or none with data.positive_class=null"
        )
    if any(sample.split is not None for sample in dataset.samples):
        for part, name in (("train", "training"), ("val", "validation")):
            if not any(sample.split == part for sample in dataset.samples):
                raise AssayError(f"there are no {name} photos: change data.split or add photos")
    learned = {sample.label for sample in dataset.part("train")}
    if len(learned) == 1:
        raise AssayError(
            f"all training photos are of the class {quote_names(learned)}: add training photos of other classes, or "
            "change data.split"
        )
