"""What lies beside an exported file: all that a user must know of it as JSON, and an example of use.

Knows nothing of how models are written or compared.
"""

import math
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from assay.bundle import BundleInfo
from assay.bundle.info import round_up
from assay.files import sha256
from assay.inference import Outputs
from assay.workflow.export.agreement import Agreement
from assay.workflow.export.formats import Format


def describe(one: Format, info: BundleInfo, path: Path, agreement: Agreement | None) -> dict[str, Any]:
    """Return what a user of an exported file must know, as plain values.

    Args:
        one: its format.
        info: what the bundle says about itself.
        path: the file.
        agreement: how it differs from the bundle; None: nobody looked.
    """
    size = info.preprocess.size
    return {
        "format": one.name,
        "file": one.file,
        "sha256": sha256(path),
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
        "outputs": list(Outputs._fields),
        "preprocess": info.preprocess.model_dump(mode="json", exclude={"mean", "std"}),
        "temperature": info.temperature,
        "thresholds": dict(info.thresholds),
        "check": None if agreement is None else _told(agreement),
    }


def example(one: Format) -> str:
    """Return a Python program that classifies one photo with an exported file; it needs no Assay."""
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


def _told(agreement: Agreement) -> dict[str, Any]:
    difference = agreement.difference
    return {
        "photos": agreement.photos,
        "max_logit_difference": round_up(difference) if math.isfinite(difference) else None,
        "labels_differ": agreement.labels_differ,
    }
