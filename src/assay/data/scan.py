"""From a path to a data set whose every photo is readable: folders, a manifest or an array file.

The order is: list, verify, map labels, decide the classes. Knows nothing of splits besides keeping those
that the data brings.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from assay.data.arrays import is_array_folder, list_array_file, list_array_folder, with_tensors
from assay.data.folders import Listing, list_folder
from assay.data.labels import Mapped, class_order, empty_classes, map_labels, named, refuse_collisions
from assay.data.manifest import MANIFEST_SUFFIXES, list_manifest
from assay.data.metadata import list_metadata
from assay.data.rows import TABLES, as_path
from assay.data.samples import Dataset, Sample, Unreadable
from assay.data.tensors import PICKLE_SUFFIXES, TENSOR_SUFFIXES
from assay.data.value_ranges import ADVICE, CONVERT, conflict
from assay.data.verify import ABSENT, Verified, verify
from assay.errors import AssayError, UsageError
from assay.files import cache_folder, require_file
from assay.progress import Progress, silent
from assay.recipe import Layout

_ARCHIVE_SUFFIXES = frozenset({".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".txz", ".xz", ".zip", ".zst"})


def scan(
    path: str | Path,
    *,
    mapping: Mapped | None = None,
    classes: Sequence[str] | None = None,
    layout: Layout = "auto",
    value_range: tuple[float, float] | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Read labelled photos; every one that is kept has been decoded to its end.

    Args:
        path: a folder of class folders, a folder of train/val/test folders of class folders, either with
            labels in `metadata.csv` instead, a manifest (`.csv`, `.jsonl`, `.parquet`), or an array file
            (`.npz`, `.pt`, a folder with `X.npy` and `y.npy`).
        mapping: new class: the labels it is made of; its order becomes the order of the classes.
        classes: the order of an existing classifier; labels outside it are refused, and absent classes
            only give a warning.
        layout: what the folders in a folder are.
        value_range: the recipe's `preprocess.value_range`.
        progress: told while files are opened.

    Raises:
        UsageError: there is nothing at `path`, or it is a file of another kind.
        AssayError: no photos, fewer than two classes, a class without photos, unknown labels, labels that
            differ only in case, or photos whose values would be scaled by different rules.
    """
    listing = list_source(Path(path), layout)
    # Before any file is opened: there may be many.
    refuse_collisions(listing.labels)
    verified = verify(listing.samples, progress, value_range)
    return labelled_dataset(Path(path), listing, verified, mapping, classes, value_range=value_range)


def labelled_dataset(
    path: Path,
    listing: Listing,
    verified: Verified,
    mapping: Mapped | None = None,
    classes: Sequence[str] | None = None,
    *,
    value_range: tuple[float, float] | None = None,
) -> Dataset:
    """Make a data set of files that were listed and opened: map labels, decide the classes.

    Args:
        path: where the files were listed, for messages.
        listing: the files.
        verified: what opening them found.
        mapping: as for `scan`.
        classes: as for `scan`.
        value_range: as for `scan`.

    Raises:
        AssayError: as for `scan`.
    """
    refuse_collisions(listing.labels)
    if not verified.samples:
        raise AssayError(_nothing(path, verified))
    if why := conflict(verified.values, value_range):
        raise AssayError(f"{path}: {why}; {CONVERT if value_range else ADVICE}")
    labels = listing.labels
    samples = verified.samples
    absent: list[str] = []
    if mapping is not None:
        absent = _absent_sources(mapping, listing)
        samples = map_labels(samples, mapping)
        labels = [sample.label for sample in samples]
    order = class_order(labels, mapping, classes)
    lacking = _check_classes(order, samples, listing, verified.unreadable, strict=classes is None)
    warnings = [*listing.warnings, *absent, *lacking]
    return Dataset(
        root=listing.root,
        classes=order,
        samples=tuple(sorted(samples, key=lambda sample: sample.id)),
        unreadable=tuple(sorted([*listing.unreadable, *verified.unreadable], key=lambda one: one.id)),
        skipped=dict(sorted((listing.skipped + verified.skipped).items())),
        warnings=tuple(warnings),
    )


def list_source(path: Path, layout: Layout = "auto") -> Listing:
    """List the candidates at a path without judging whether they are photos.

    Raises:
        UsageError: there is nothing at `path`, or it is a file of another kind.
        AssayError: the folder or the manifest makes no sense.
    """
    suffix = path.suffix.casefold()
    require_file(path)
    if path.is_dir():
        if is_array_folder(path):
            return list_array_folder(path)
        return list_metadata(path) or with_tensors(list_folder(path, layout))
    if not path.exists():
        raise UsageError(
            f"there is no file or folder {path}; give a folder with one folder of photos per class"
        )
    if suffix in MANIFEST_SUFFIXES:
        # Photos that lie in a table become files first.
        return list_manifest(as_path(path, cache_folder() / TABLES))
    if suffix in TENSOR_SUFFIXES:
        return list_array_file(path)
    if suffix in PICKLE_SUFFIXES:
        raise UsageError(
            f"{path} is a pickle, which can run any code when opened; save the arrays as .npz instead"
        )
    if suffix in _ARCHIVE_SUFFIXES:
        raise UsageError(f"{path} is an archive: unpack it, and give the folder of class folders in it")
    raise UsageError(
        f"{path} is a file, not data; give a folder of class folders, a .csv, .jsonl or .parquet, or an .npz"
    )


def _check_classes(
    order: Sequence[str],
    samples: Sequence[Sample],
    listing: Listing,
    unreadable: Sequence[Unreadable],
    *,
    strict: bool,
) -> list[str]:
    empty = empty_classes(order, samples)
    if not strict:
        return [f"the data has no photo of {named(empty)}"] if empty else []
    if empty:
        labels = {sample.id: sample.label for sample in listing.samples}
        first = next((one for one in unreadable if labels.get(one.id) == empty[0]), None)
        why = f" (the first, {first.id}: {first.reason})" if first else ""
        raise AssayError(
            f"class {named(empty)} has no readable photo in {listing.root}{why}; add photos or remove it"
        )
    if len(order) < 2:
        hint = "add a folder with photos of another class"
        if order[0] in listing.nested:
            inner = listing.root / order[0]
            hint = (
                f"perhaps {inner} was meant"
                if inner.is_dir()
                else "perhaps the folders in it are the classes"
            )
        raise AssayError(f"{listing.root} has one class only, {order[0]!r}; {hint}")
    return _lacking(order, samples)


def _absent_sources(mapping: Mapped, listing: Listing) -> list[str]:
    """Return a sentence if the mapping speaks of labels the data lacks: perhaps a spelling mistake."""
    kept = {sample.source_label for sample in listing.samples if sample.source_label}
    present = kept.union(listing.labels)
    if present <= set(mapping):
        return []
    absent = [source for sources in mapping.values() for source in sources if source not in present]
    return [f"data.mapping names {named(absent)}, of which the data has no photo"] if absent else []


def _lacking(order: Sequence[str], samples: Sequence[Sample]) -> list[str]:
    """Return a sentence for every ready-made part that lacks a class."""
    seen = Counter((sample.split, sample.label) for sample in samples)
    parts = sorted({split for split, _ in seen if split})
    return [
        f"the ready-made part {part} has no photo of {named(missing)}"
        for part in parts
        if (missing := [name for name in order if not seen[part, name]])
    ]


def _nothing(path: Path, verified: Verified) -> str:
    if not verified.unreadable:
        return f"{path} holds no images, judged by the content of its files; give a folder with photos"
    first = verified.unreadable[0]
    count = len(verified.unreadable)
    hint = "; paths are relative to the table's folder" if path.is_file() and first.reason == ABSENT else ""
    return f"none of the {count} photos in {path} can be read (the first, {first.id}: {first.reason}){hint}"
