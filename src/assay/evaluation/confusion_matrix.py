"""The confusion matrix: counts, shares and text tables."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from assay.core.printable_text import printable
from assay.core.text_layout import (
    MAX_CLASSES_LISTED,
    MAX_CLASSES_SHOWN,
    align_columns,
    counted,
    format_percent,
    shorten,
    shorten_names,
    wrap,
)
from assay.evaluation.metrics import confusion_counts
from assay.evaluation.predictions import FloatArray, IntArray, Predictions

_TEXT_NAME_WIDTH = 24
_MAX_LINE_WIDTH = 110

HOW_TO_READ = (
    "Rows are the actual classes, columns the predicted ones. Numbers on the diagonal, from top left to bottom "
    "right, are correct; every other number is a mistake."
)


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """`count` images of `actual` were predicted as `predicted`, a `share` (0-1) of all images of `actual`."""

    actual: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Images counted by actual and predicted class.

    Attributes:
        classes: names of the C classes, in output order.
        counts: int64 array [C, C]; rows actual, columns predicted.
    """

    classes: tuple[str, ...]
    counts: IntArray

    @classmethod
    def from_predictions(cls, predictions: Predictions) -> Self:
        """Count the predictions."""
        return cls(predictions.classes, confusion_counts(predictions))

    @property
    def normalized(self) -> FloatArray:
        """Share of each row, float64 [C, C]: rows sum to 1; a class without images is a row of NaN."""
        support = self.counts.sum(axis=1, keepdims=True)
        shares = np.full(self.counts.shape, np.nan)
        np.divide(self.counts, support, out=shares, where=support > 0)
        return shares

    def pairs(self) -> tuple[ConfusedPair, ...]:
        """Return the confused pairs of classes, the most frequent first."""
        shares = self.normalized
        rows, columns = np.nonzero(self.counts)
        pairs = [
            ConfusedPair(self.classes[i], self.classes[j], int(self.counts[i, j]), float(shares[i, j]))
            for i, j in zip(rows, columns, strict=True)
            if i != j
        ]
        return tuple(sorted(pairs, key=lambda pair: (-pair.count, -pair.share)))

    def to_dict(self) -> dict[str, Any]:
        """Return the matrix ready for JSON; the normalized row of a class without images is null."""
        shares = self.normalized
        return {
            "classes": list(self.classes),
            "rows": "actual",
            "columns": "predicted",
            "counts": self.counts.tolist(),
            "normalized": [None if np.isnan(row).any() else row.tolist() for row in shares],
            "most_confused": [asdict(pair) for pair in self.pairs()],
        }

    def to_text(self) -> str:
        """Return counts and percentages as aligned text with an explanation.

        Of more than thirty classes, the most frequent mistakes and the classes with the most mistakes are listed.
        """
        if len(self.classes) > MAX_CLASSES_SHOWN:
            return self._many_classes_text()
        counts = [[str(count) for count in row] for row in self.counts]
        shares = [[format_whole_percent(share) for share in row] for row in self.normalized]
        help_text = f"How to read it: {HOW_TO_READ[0].lower()}{HOW_TO_READ[1:]} {self.summary()}"
        parts = [
            "Confusion matrix: number of photos (rows actual, columns predicted)",
            self._table(counts),
            "Percent of each row",
            self._table(shares),
            wrap(help_text),
        ]
        return "\n\n".join(parts) + "\n"

    def summary(self) -> str:
        """Return the accuracy and the most frequent mistake in one or two sentences."""
        total, right = int(self.counts.sum()), int(np.trace(self.counts))
        if not total:
            return "There are no photos."
        verb = "is" if right == 1 else "are"
        sentence = f"{right} of {counted(total, 'photo')} ({format_percent(right / total)}) {verb} correct."
        pairs = self.pairs()
        if not pairs:
            return sentence
        worst = pairs[0]
        support = int(self.counts[self.classes.index(worst.actual)].sum())
        actual, predicted = printable(worst.actual), printable(worst.predicted)
        return (
            f"{sentence} The most frequent mistake: {worst.count} of {counted(support, f'“{actual}” photo')} "
            f"({format_percent(worst.share)}) predicted as “{predicted}”."
        )

    def _many_classes_text(self) -> str:
        pairs = self.pairs()
        mistakes = [["actual", "predicted", "photos", "share of class"]]
        for pair in pairs[:MAX_CLASSES_LISTED]:
            names = [shorten(name, _TEXT_NAME_WIDTH) for name in (pair.actual, pair.predicted)]
            mistakes.append([*names, str(pair.count), format_percent(pair.share)])
        support = self.counts.sum(axis=1)
        wrong = support - np.diag(self.counts)
        worst = sorted(np.flatnonzero(wrong), key=lambda row: (-wrong[row] / support[row], -wrong[row]))
        first: dict[str, str] = {}
        for pair in pairs:
            first.setdefault(pair.actual, f"{shorten(pair.predicted, _TEXT_NAME_WIDTH)} ({pair.count})")
        classes = [["class", "photos", "wrong", "share wrong", "most often predicted as"]]
        for row in worst[:MAX_CLASSES_LISTED]:
            name, share = self.classes[row], format_percent(wrong[row] / support[row])
            classes.append([shorten(name, _TEXT_NAME_WIDTH), str(support[row]), str(wrong[row]), share, first[name]])
        parts = [
            f"Confusion matrix of {len(self.classes)} classes (in full in confusion_matrix.json)",
            f"Most frequent mistakes ({len(mistakes) - 1} of {len(pairs)} kinds)",
            align_columns(mistakes),
            f"Classes with the largest share of mistakes ({len(classes) - 1} of {len(worst)} with mistakes)",
            align_columns(classes),
            wrap(self.summary()),
        ]
        return "\n\n".join(parts) + "\n"

    def _table(self, cells: list[list[str]]) -> str:
        names = shorten_names(self.classes, _TEXT_NAME_WIDTH)
        table = align_columns([["", *names], *([name, *row] for name, row in zip(names, cells, strict=True))])
        if len(table.split("\n", 1)[0]) <= _MAX_LINE_WIDTH:
            return table
        # Too many or too long names for columns: number the classes instead.
        heads = [str(k) for k in range(1, len(names) + 1)]
        width = len(heads[-1])
        rows = [[f"{head:>{width}} {name}", *row] for head, name, row in zip(heads, names, cells, strict=True)]
        return align_columns([["", *heads], *rows], gap=1)


def format_whole_percent(share: float) -> str:
    """Format a share as a whole number of percent without the sign; NaN is a dash."""
    return "–" if np.isnan(share) else format_percent(share, digits=0).removesuffix(" %")
