"""Folders as Hugging Face has them: photos beside a `metadata.csv` with `file_name` and `label`.

The table may stand in the folder itself or in each of its train/val/test folders. One without a column
`label` says nothing of classes, so that the folders' names count as ever.
"""

import csv
from dataclasses import replace
from pathlib import Path

from assay.data.folders import Listing
from assay.data.manifest import list_manifest
from assay.data.split_names import splits_named
from assay.errors import AssayError
from assay.photo_files import Passed, children

_NAME = "metadata.csv"


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
    if _labels(root / _NAME):
        return list_manifest(root / _NAME)
    inside = children(root, Passed()).folders
    splits = splits_named(path.name for path in inside)
    folders = {path: splits[path.name] for path in inside if path.name in splits}
    labelled = [folder for folder in folders if _labels(folder / _NAME)]
    if not labelled:
        return None
    if without := [folder for folder in folders if folder not in labelled]:
        raise AssayError(f"{without[0]} has no {_NAME} with labels, as {labelled[0]} has; add one")
    whole = Listing(root)
    for folder, split in folders.items():
        one = list_manifest(folder / _NAME)
        whole.samples += [
            replace(sample, id=f"{folder.name}/{sample.id}", split=split) for sample in one.samples
        ]
        whole.skipped += one.skipped
        whole.warnings += one.warnings
    whole.labels = list(dict.fromkeys(sample.label for sample in whole.samples))
    return whole


def _labels(path: Path) -> bool:
    """Say whether there is a table with labels; what is wrong with one is for `list_manifest` to tell."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        return "label" in [name.strip() for name in next(csv.reader(stream), [])]
