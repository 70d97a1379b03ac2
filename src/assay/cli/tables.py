"""Answers as a table in a file."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from assay.files import replacing

if TYPE_CHECKING:
    from assay.inference import Prediction


def write_answers(
    path: Path, answers: Iterable["Prediction"], classes: Sequence[str], *, limits: bool = False
) -> int:
    """Write a row a photo (path, label, confidence, a column a class), whole or not at all.

    Args:
        path: the CSV file.
        answers: what was said of the photos.
        classes: their order.
        limits: add the columns unknown (1 or 0), reason and novelty behind the confidence.

    Returns:
        The number of rows.
    """
    count = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        doubts = ["unknown", "reason", "novelty"] if limits else []
        table.writerow(["path", "label", "confidence", *doubts, *(f"p_{name}" for name in classes)])
        for answer in answers:
            shares = [f"{answer.probabilities[name]:.6f}" for name in classes]
            novelty = "" if answer.novelty is None else f"{answer.novelty:.4f}"
            doubt = [int(bool(answer.unknown)), answer.reason or "", novelty] if limits else []
            table.writerow([answer.source, answer.label, f"{answer.confidence:.6f}", *doubt, *shares])
            count += 1
    return count
