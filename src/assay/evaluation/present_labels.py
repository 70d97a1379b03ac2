"""Apply other labels, such as corrected ones, to predictions that are stored with those of their time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from assay.core.errors import AssayError
from assay.evaluation.predictions import Predictions


@dataclass(frozen=True)
class PresentLabels:
    """Predictions of several classifiers on the images that all of them were evaluated on, with the same labels.

    Attributes:
        predictions: of each classifier; the images are in the same order for all.
        changed: images whose label differs from that of at least one evaluation.
        left_out: images of at least one evaluation that are not compared: another evaluation has not got them, they
            have no label now, or one of a class that a classifier does not know.
    """

    predictions: tuple[Predictions, ...]
    changed: int
    left_out: int

    def to_dict(self) -> dict[str, int]:
        """Return plain numbers, ready for JSON."""
        return {"photos": len(self.predictions[0]), "changed": self.changed, "left_out": self.left_out}


def apply_labels(evaluations: Sequence[Predictions], labels: Mapping[str, str]) -> PresentLabels:
    """Give the images that several evaluations have in common the same labels.

    Each classifier was evaluated on images that it was not trained on, so none was trained on those in common.

    Args:
        evaluations: predictions of two or more classifiers.
        labels: class of each image, by its id.

    Raises:
        AssayError: no image is in all evaluations, or none of these has a label.
    """
    known = set.intersection(*(set(item.classes) for item in evaluations))
    common = set.intersection(*(set(item.ids) for item in evaluations))
    ids = [name for name in evaluations[0].ids if name in common and labels.get(name) in known]
    if not common:
        raise AssayError("the evaluations have no photo in common: train again with the splits of the earlier run")
    if not ids:
        example = next(name for name in evaluations[0].ids if name in common)
        raise AssayError(
            "none of the photos that all were evaluated on has a label of their classes: give a manifest in which they "
            f"have the same id or path, such as {example}"
        )
    changed: set[str] = set()
    relabelled = []
    for item in evaluations:
        rows = {name: row for row, name in enumerate(item.ids)}
        index = {name: place for place, name in enumerate(item.classes)}
        places = np.array([rows[name] for name in ids])
        actual = np.array([index[labels[name]] for name in ids])
        changed |= {ids[place] for place in np.flatnonzero(actual != item.actual[places])}
        relabelled.append(
            replace(
                item,
                ids=tuple(ids),
                paths=tuple(item.paths[place] for place in places),
                actual=actual,
                probabilities=item.probabilities[places],
                embedding=None,
                source_labels=None,
            )
        )
    every = set.union(*(set(item.ids) for item in evaluations))
    return PresentLabels(tuple(relabelled), len(changed), len(every) - len(ids))
