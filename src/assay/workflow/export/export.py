"""A bundle becomes files for other runtimes, each proved to answer as the bundle does, or nothing is written.

Every file is made and compared in a scratch folder first. Needs torch for TorchScript alone.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from assay.bundle import Bundle, Precision
from assay.errors import AssayError
from assay.files import replacing, write_text
from assay.image import Preprocess
from assay.inference import Classifier, EngineError, Outputs
from assay.progress import Progress, silent
from assay.temporary import temporary_folder
from assay.workflow.export.about import describe, example
from assay.workflow.export.agreement import TOLERANCE, Agreement, compare_outputs, read_squares
from assay.workflow.export.formats import ALL, Format, choose_formats

_INT8 = "assay.workflow.export.int8"  # imported when it is needed: it needs more than a plain install


@dataclass(frozen=True, slots=True)
class Exported:
    """One format, written.

    Attributes:
        format: its name.
        files: all that was written for it: model, weights beside it, JSON, example.
        size: of the model with its weights, in bytes.
        agreement: how it differs from the bundle; None: nobody looked.
    """

    format: str
    files: tuple[Path, ...]
    size: int
    agreement: Agreement | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        told = self.agreement
        return {
            "format": self.format,
            "files": [str(path) for path in self.files],
            "bytes": self.size,
            "photos": None if told is None else told.photos,
            "max_logit_difference": None if told is None else told.difference,
            "labels_differ": None if told is None else told.labels_differ,
        }


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export gave.

    Attributes:
        folder: where the files lie.
        exported: every format that was written.
        skipped: why others of `all` cannot be made here, by name.
    """

    folder: Path
    exported: tuple[Exported, ...]
    skipped: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        rows = [one.to_dict() for one in self.exported]
        return {"folder": str(self.folder), "exported": rows, "skipped": dict(self.skipped)}


def export_model(
    model: Path,
    folder: Path,
    formats: Sequence[str] = (ALL,),
    *,
    photos: Sequence[Path] | None,
    int8: Path | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Write a bundle's model for other runtimes, each with a JSON file that tells its use and an example.

    Args:
        model: the bundle.
        folder: where to write; files of an earlier export there are replaced, others stay.
        formats: names of `FORMATS`, or `all`.
        photos: on which every file must answer as the bundle does, within `TOLERANCE`; at most 32 of them are
            used. None compares nothing.
        int8: labelled photos to make an int8 model with, which is exported if it is as good and faster here;
            the bundle stays as it is. None: the int8 model that the bundle holds, if it does.
        progress: told of every format.

    Raises:
        BundleError: the bundle cannot be read or run.
        UsageError: there is no such format.
        AssayError: a format cannot be made here, no photo can be read, a file answers otherwise than the
            bundle, or the folder cannot be written to. Nothing is written then.
    """
    bundle, why = Bundle.open(model), None
    choose_formats(bundle, [name for name in formats if int8 is None or not name.endswith("int8")])
    with temporary_folder("assay-export") as scratch:
        if int8 is not None:
            bundle, why = import_module(_INT8).quantised(bundle, int8, scratch, progress)
        chosen, skipped = choose_formats(bundle, formats, why)
        reference = None if photos is None else _Reference(bundle, photos)
        made = []
        for done, one in enumerate(chosen):
            progress("exporting", done, len(chosen))
            made.append(_make(bundle, one, scratch / one.name, reference))
        progress("exporting", len(chosen), len(chosen))
        try:
            published = tuple(_publish(one, folder) for one in made)
        except OSError as error:
            raise AssayError(f"{folder} cannot be written to: {error.strerror or error}") from None
    return ExportResult(folder, published, skipped)


class _Reference:
    """What the bundle itself says of the photos, worked out once for each precision."""

    def __init__(self, bundle: Bundle, photos: Sequence[Path]) -> None:
        self._model = bundle.path
        self._known: dict[Precision, Outputs] = {}
        self.squares: np.ndarray = read_squares(photos, Preprocess(bundle.info.preprocess))

    def outputs(self, precision: Precision) -> Outputs:
        if precision not in self._known:
            self._known[precision] = Classifier.load(self._model, precision=precision).outputs(self.squares)
        return self._known[precision]


def _make(bundle: Bundle, one: Format, scratch: Path, reference: _Reference | None) -> Exported:
    """Write one format into a scratch folder of its own and compare it."""
    scratch.mkdir()
    path = scratch / one.file
    try:
        one.runtime.write(bundle, one.precision, path)
        size = sum(member.stat().st_size for member in scratch.iterdir())
        agreement = None
        if reference is not None:
            expected = reference.outputs(one.precision)
            agreement = compare_outputs(one.runtime.load(path), reference.squares, expected)
    except EngineError as error:
        raise AssayError(f"{bundle.path} cannot become {one.name}: {error}") from None
    if agreement is not None:
        _refuse_difference(bundle, one, agreement)
    about = json.dumps(
        describe(one, bundle.info.at(one.precision), path, agreement), indent=2, ensure_ascii=False
    )
    write_text(scratch / one.about, f"{about}\n")
    write_text(scratch / one.example, example(one))
    return Exported(one.name, tuple(sorted(scratch.iterdir())), size, agreement)


def _refuse_difference(bundle: Bundle, one: Format, agreement: Agreement) -> None:
    limit = TOLERANCE[one.precision]
    # Not the other way round: NaN compares as false.
    if not agreement.difference <= limit:
        raise AssayError(
            f"nothing was written: {one.name} differs from {bundle.path} by {agreement.difference:.3g} in a "
            f"logit on {agreement.photos} photos, more than {limit:g}; install the {one.runtime.package} "
            "that Assay is tested with"
        )


def _publish(made: Exported, folder: Path) -> Exported:
    """Copy the files of one format to where they are wanted, each whole or not at all."""
    written = []
    for source in made.files:
        with replacing(folder / source.name) as temporary:
            shutil.copyfile(source, temporary)
        written.append(folder / source.name)
    return Exported(made.format, tuple(written), made.size, made.agreement)
