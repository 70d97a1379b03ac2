"""Export a bundle for other runtimes and verify that each exported file agrees with it on real images.

Every file is written and compared in a temporary folder first. Only TorchScript needs torch.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Any

import numpy as np

from assay.bundle import Bundle, BundleInfo, Precision
from assay.bundle.info import round_up
from assay.core.errors import AssayError
from assay.core.files import atomic_write, file_sha256, temporary_folder, write_text
from assay.core.progress import Progress, no_progress
from assay.core.text_layout import counted
from assay.export.formats import ALL_FORMATS, ExportFormat, InferenceFunction, choose_formats
from assay.image import Preprocess
from assay.inference import Classifier, EngineError, Failure, ModelOutputs
from assay.inference.inputs import read_input

MAX_IMAGES = 32
"""Photos compared at most, evenly spaced among those given."""

MAX_LOGIT_DIFFERENCE: Mapping[Precision, float] = MappingProxyType({"fp32": 1e-3, "int8": 1.0})
"""Largest accepted |Δlogit| between an exported file and the bundle's model of the same precision.

Runtimes round int8 models differently, and a difference early in the network grows towards its output: 0.2
was observed between ONNX Runtime and OpenVINO with identical labels.
"""

_BATCH = 8


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an exported file differs from its bundle.

    Attributes:
        photos: number compared.
        difference: largest |Δlogit|; NaN if an output is not finite or has another shape.
        labels_differ: number of photos with another predicted class.
    """

    photos: int
    difference: float
    labels_differ: int


def read_check_images(photos: Sequence[Path], preprocess: Preprocess) -> np.ndarray:
    """Read at most `MAX_IMAGES` photos; those that cannot be read are skipped.

    Returns:
        uint8 [n, S, S, 3], n ≥ 1.

    Raises:
        AssayError: none of them can be read.
    """
    step = max(1, len(photos) / MAX_IMAGES)
    chosen = [photos[int(place * step)] for place in range(min(len(photos), MAX_IMAGES))]
    read = [read_input(photo, preprocess) for photo in chosen]
    squares = [square for square in read if not isinstance(square, Failure)]
    if not squares:
        first = next(failure for failure in read if isinstance(failure, Failure))
        raise AssayError(f"{first}: give --check photos that can be read")
    return np.stack(squares)


def compare_outputs(run: InferenceFunction, squares: np.ndarray, expected: ModelOutputs) -> Agreement:
    """Compare an exported file with its bundle.

    The first photo runs alone and the others in batches, since runtimes choose other kernels for a single image.

    Args:
        run: inference with the exported file.
        squares: uint8 [n, S, S, 3].
        expected: outputs of the bundle for them.
    """
    starts = [0, *range(1, len(squares), _BATCH), len(squares)]
    parts = [run(squares[start:end]) for start, end in pairwise(starts)]
    got = ModelOutputs(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    if [array.shape for array in got] != [array.shape for array in expected]:
        return Agreement(len(squares), float("nan"), len(squares))
    differ = int((got.logits.argmax(axis=1) != expected.logits.argmax(axis=1)).sum())
    return Agreement(len(squares), float(np.abs(got.logits - expected.logits).max()), differ)


def describe_export(one: ExportFormat, info: BundleInfo, path: Path, agreement: Agreement | None) -> dict[str, Any]:
    """Describe an exported file, ready for JSON: classes, input, preprocessing, thresholds, verification.

    Args:
        one: its format.
        info: metadata of the bundle.
        path: the exported file.
        agreement: how it differs from the bundle; None if it was not compared.
    """
    size = info.preprocess.size
    return {
        "format": one.name,
        "file": one.file,
        "sha256": file_sha256(path),
        "name": info.name,
        "version": info.version,
        "description": info.description,
        "classes": list(info.classes),
        "input": {
            "name": "images",
            "type": "uint8",
            "shape": ["N", size, size, 3],
            "channels": "RGB",
            "range": "0-255 as decoded; the model itself applies mean and std",
        },
        "outputs": list(ModelOutputs._fields),
        "preprocess": info.preprocess.model_dump(mode="json", exclude={"mean", "std"}),
        "temperature": info.temperature,
        "thresholds": dict(info.thresholds),
        "check": None if agreement is None else _agreement_values(agreement),
    }


def example_code(one: ExportFormat) -> str:
    """Return a Python program that classifies one photo with an exported file, without Assay."""
    template = Template((files(__package__) / "example.py.txt").read_text(encoding="utf-8"))
    runtime = one.runtime
    return template.substitute(
        file=one.file,
        example=one.example,
        about=one.about,
        package=runtime.package,
        imports=runtime.imports,
        answer=runtime.answer.replace("{file}", one.file),
    )


def _agreement_values(agreement: Agreement) -> dict[str, Any]:
    difference = agreement.difference
    return {
        "photos": agreement.photos,
        "max_logit_difference": round_up(difference) if math.isfinite(difference) else None,
        "labels_differ": agreement.labels_differ,
    }


_QUANTIZE_MODULE = "assay.pipeline.quantize"  # imported when needed: a plain install cannot import it


@dataclass(frozen=True, slots=True)
class ExportedFormat:
    """One exported format.

    Attributes:
        format: name of the format.
        files: all files written for it: model, weights beside it, JSON, example.
        size: bytes of the model with its weights.
        agreement: how it differs from the bundle; None if it was not compared.
    """

    format: str
    files: tuple[Path, ...]
    size: int
    agreement: Agreement | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        agreement = self.agreement
        return {
            "format": self.format,
            "files": [str(path) for path in self.files],
            "bytes": self.size,
            "photos": None if agreement is None else agreement.photos,
            "max_logit_difference": None if agreement is None else agreement.difference,
            "labels_differ": None if agreement is None else agreement.labels_differ,
        }


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The result of an export.

    Attributes:
        folder: where the files are.
        exported: the formats written.
        skipped: formats of `all` that cannot be exported here, with the reason.
    """

    folder: Path
    exported: tuple[ExportedFormat, ...]
    skipped: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        rows = [exported.to_dict() for exported in self.exported]
        return {"folder": str(self.folder), "exported": rows, "skipped": dict(self.skipped)}


def export_model(
    model: Path,
    folder: Path,
    formats: Sequence[str] = (ALL_FORMATS,),
    *,
    photos: Sequence[Path] | None,
    int8: Path | None = None,
    progress: Progress = no_progress,
) -> ExportResult:
    """Write a bundle's model for other runtimes, each with a JSON file that describes it and example code.

    Args:
        model: the bundle.
        folder: where to write; files of an earlier export there are replaced, others stay.
        formats: names of `FORMATS`, or `all`.
        photos: on which every file must agree with the bundle within `MAX_LOGIT_DIFFERENCE`; at most 32 of them are
            used. None compares nothing.
        int8: labelled photos for quantization; the int8 model is exported if it is as accurate and faster on this
            machine, and the bundle is not changed. None: the int8 model of the bundle, if it has one.
        progress: called for every format.

    Raises:
        BundleError: the bundle cannot be read or run.
        UsageError: unknown format.
        AssayError: a format cannot be exported here, no photo can be read, a file disagrees with the bundle,
            or the folder cannot be written to. Nothing is written then.
    """
    bundle, why = Bundle.open(model), None
    choose_formats(bundle, [name for name in formats if int8 is None or not name.endswith("int8")])
    with temporary_folder("assay-export") as scratch:
        if int8 is not None:
            bundle, why = import_module(_QUANTIZE_MODULE).quantized_copy(bundle, int8, scratch, progress)
        chosen, skipped = choose_formats(bundle, formats, why)
        reference = None if photos is None else _ReferenceOutputs(bundle, photos)
        made = []
        for done, target in enumerate(chosen):
            progress("exporting", done, len(chosen))
            made.append(_export_format(bundle, target, scratch / target.name, reference))
        progress("exporting", len(chosen), len(chosen))
        try:
            published = tuple(_publish(exported, folder) for exported in made)
        except OSError as error:
            raise AssayError(f"{folder} cannot be written to: {error.strerror or error}") from None
    return ExportResult(folder, published, skipped)


class _ReferenceOutputs:
    """Outputs of the bundle for the compared photos, computed once per precision."""

    def __init__(self, bundle: Bundle, photos: Sequence[Path]) -> None:
        self._model = bundle.path
        self._known: dict[Precision, ModelOutputs] = {}
        self.squares: np.ndarray = read_check_images(photos, Preprocess(bundle.info.preprocess))

    def outputs(self, precision: Precision) -> ModelOutputs:
        if precision not in self._known:
            self._known[precision] = Classifier.load(self._model, precision=precision).outputs(self.squares)
        return self._known[precision]


def _export_format(
    bundle: Bundle, one: ExportFormat, scratch: Path, reference: _ReferenceOutputs | None
) -> ExportedFormat:
    """Export one format into its own temporary folder and compare it."""
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
        _check_agreement(bundle, one, agreement)
    about = json.dumps(
        describe_export(one, bundle.info.at(one.precision), path, agreement), indent=2, ensure_ascii=False
    )
    write_text(scratch / one.about, f"{about}\n")
    write_text(scratch / one.example, example_code(one))
    return ExportedFormat(one.name, tuple(sorted(scratch.iterdir())), size, agreement)


def _check_agreement(bundle: Bundle, one: ExportFormat, agreement: Agreement) -> None:
    limit = MAX_LOGIT_DIFFERENCE[one.precision]
    # Not `difference > limit`: NaN compares as false.
    if not agreement.difference <= limit:
        raise AssayError(
            f"nothing was written: {one.name} differs from {bundle.path} by {agreement.difference:.3g} in a "
            f"logit on {counted(agreement.photos, 'photo')}, more than {limit:g}; install the {one.runtime.package} "
            "that Assay is tested with"
        )


def _publish(made: ExportedFormat, folder: Path) -> ExportedFormat:
    """Copy the files of one format to the output folder, each atomically."""
    written = []
    for source in made.files:
        with atomic_write(folder / source.name) as temporary:
            shutil.copyfile(source, temporary)
        written.append(folder / source.name)
    return ExportedFormat(made.format, tuple(written), made.size, made.agreement)
