"""The ELPV solar cells as class folders with a manifest, from the installed package or an unpacked one.

2,624 electroluminescence pictures of solar cells, each with the probability of a defect that experts gave it
and the kind of cell. The pictures' bytes are copied as they are.
"""

import importlib.util
import shutil
from pathlib import Path

from assay.data.archive import whole_folder
from assay.errors import AssayError
from assay.safe_csv import SafeWriter

CLASSES = ("functional", "defective")
"""A cell is defective from a defect probability of one half on."""


def prepare_elpv(to: Path) -> Path:
    """Write the cells of the installed package `elpv-dataset` into the new folder `to`.

    A folder that this function made before is left as it is.

    Args:
        to: gets `functional/`, `defective/` and `manifest.csv` with path, label and source_label, the kind
            of cell (`mono` or `poly`).

    Returns:
        The manifest.

    Raises:
        AssayError: the package is not installed, or `to` holds something else.
    """
    manifest = to / "manifest.csv"
    if not (manifest.is_file() and all((to / label).is_dir() for label in CLASSES)):
        source = installed_elpv()
        if source is None:
            raise AssayError("the solar cells are not installed; install them with: pip install elpv-dataset")
        with whole_folder(to) as folder:
            write_elpv(source, folder)
    return manifest


def installed_elpv() -> Path | None:
    """Return the data folder of the installed package, or None."""
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "data"
    return folder if (folder / "labels.csv").is_file() else None


def write_elpv(source: Path, folder: Path) -> None:
    """Copy the cells from the publisher's layout (`labels.csv` and `images/`) into class folders.

    Args:
        source: folder with `labels.csv`, whose lines hold path, probability and kind between blanks.
        folder: an existing folder.

    Raises:
        AssayError: the list cannot be read or names a picture that is not there.
    """
    rows = _read_labels(source / "labels.csv")
    for label in CLASSES:
        (folder / label).mkdir()
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
        table = SafeWriter(stream, exact=True)
        table.writerow(("path", "label", "source_label"))
        for path, probability, kind in rows:
            label = CLASSES[probability >= 0.5]
            copy = f"{label}/{Path(path).name}"
            try:
                shutil.copyfile(source / path, folder / copy)
            except OSError as error:
                raise AssayError(f"{source / path} cannot be copied: {error.strerror}") from None
            table.writerow((copy, label, kind))


def _read_labels(path: Path) -> list[tuple[str, float, str]]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        rows = [(name, float(probability), kind) for name, probability, kind in map(str.split, lines)]
    except (OSError, ValueError) as error:
        raise AssayError(f"{path} cannot be read as the list of solar cells: {error}") from None
    if len({Path(name).name for name, _, _ in rows}) != len(rows):
        raise AssayError(f"{path} names a picture twice")
    return rows
