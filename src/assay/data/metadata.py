"""Folders as Hugging Face has them: photos beside a `metadata.csv` with `file_name` and `label`.

Also `metadata.jsonl` or `metadata.parquet`. The table may stand in the folder itself or in each of its
train/val/test folders. One without a column `label` says nothing of classes, so that the folders' names count
as ever.
"""

from dataclasses import replace
from pathlib import Path

from assay.data.folders import Listing
from assay.data.manifest import has_labels, list_manifest
from assay.data.split_names import splits_named
from assay.errors import AssayError
from assay.photo_files import Passed, children

_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def list_metadata(root: Path) -> Listing | None:
    """List the photos that the metadata of a folder labels.

    Args:
        root: an existing folder.

    Returns:
        The listing, or None where there is no metadata with labels.

    Raises:
        AssayError: a table cannot be read or makes no sense, as for a manifest; or only some of the parts
            have one.
    """
    if (table := _labels(root)) is not None:
        return list_manifest(table)
    inside = children(root, Passed()).folders
    splits = splits_named(path.name for path in inside)
    tables = {path: _labels(path) for path in inside if path.name in splits}
    labelled = {path: table for path, table in tables.items() if table is not None}
    if not labelled:
        return None
    if without := [folder for folder in tables if folder not in labelled]:
        table = next(iter(labelled.values()))
        raise AssayError(f"{without[0]} has no {table.name} with labels, as {table.parent} has; add one")
    whole = Listing(root)
    for folder, table in labelled.items():
        one = list_manifest(table)
        whole.samples += [
            replace(sample, id=f"{folder.name}/{sample.id}", split=splits[folder.name])
            for sample in one.samples
        ]
        whole.skipped += one.skipped
        whole.warnings += one.warnings
    whole.labels = list(dict.fromkeys(sample.label for sample in whole.samples))
    return whole


def _labels(folder: Path) -> Path | None:
    """Return the table with labels in a folder, if there is one; what is wrong with it, `list_manifest` says.

    Raises:
        AssayError: there are several.
    """
    found = [path for name in _NAMES if (path := folder / name).is_file() and has_labels(path)]
    if len(found) > 1:
        raise AssayError(f"{found[0]} and {found[1].name} both have labels; remove one")
    return found[0] if found else None
