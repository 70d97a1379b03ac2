"""The confusion matrix: which class was taken for which, how often, and in words.

Knows nothing of pictures of it; those are in `confusion_figure`.
"""

import textwrap
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from assay.evaluation.metrics import confusion_counts
from assay.evaluation.predictions import Floats, Integers, Predictions
from assay.tables import MOST_CLASSES, MOST_LISTED, align, percent, short_names, shorten
from assay.text import printable

_NAME = 24
_LINE = 110
HOW_TO_READ = (
    "How to read it: a row is what the photos show, a column is what the classifier said. Numbers on the "
    "diagonal, from top left to bottom right, are right; every other number is a mistake."
)


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """One kind of mistake: `count` photos of `actual` were taken for `predicted`.

    `share` is their share of all photos of `actual`, 0-1.
    """

    actual: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, eq=False)
class Confusion:
    """Photos counted by actual and predicted class.

    Attributes:
        classes: names of the C classes, in output order.
        counts: int64 array [C, C]; rows actual, columns predicted.
    """

    classes: tuple[str, ...]
    counts: Integers

    @classmethod
    def of(cls, predictions: Predictions) -> Self:
        """Count the predictions."""
        return cls(predictions.classes, confusion_counts(predictions))

    @property
    def normalised(self) -> Floats:
        """Share of each row, float64 [C, C]: rows sum to 1; a class without photos is a row of nan."""
        support = self.counts.sum(axis=1, keepdims=True)
        shares = np.full(self.counts.shape, np.nan)
        np.divide(self.counts, support, out=shares, where=support > 0)
        return shares

    def pairs(self) -> tuple[ConfusedPair, ...]:
        """Return every kind of mistake that was made, the most frequent first."""
        shares = self.normalised
        rows, columns = np.nonzero(self.counts)
        found = [
            ConfusedPair(self.classes[i], self.classes[j], int(self.counts[i, j]), float(shares[i, j]))
            for i, j in zip(rows, columns, strict=True)
            if i != j
        ]
        return tuple(sorted(found, key=lambda pair: (-pair.count, -pair.share)))

    def to_dict(self) -> dict[str, Any]:
        """Return the matrix ready for JSON; the normalised row of a class without photos is null."""
        shares = self.normalised
        return {
            "classes": list(self.classes),
            "rows": "actual",
            "columns": "predicted",
            "counts": self.counts.tolist(),
            "normalised": [None if np.isnan(row).any() else row.tolist() for row in shares],
            "most_confused": [asdict(pair) for pair in self.pairs()],
        }

    def to_text(self) -> str:
        """Return both matrices as aligned text with an explanation that names the worst mistake.

        Of more than thirty classes the most frequent mistakes and the classes with most mistakes are listed.
        """
        if len(self.classes) > MOST_CLASSES:
            return self._summary()
        counts = [[str(count) for count in row] for row in self.counts]
        shares = [[_whole_percent(share) for share in row] for row in self.normalised]
        parts = [
            "Confusion matrix: number of photos (rows actual, columns predicted)",
            self._table(counts),
            "The same in percent of each row",
            self._table(shares),
            textwrap.fill(f"{HOW_TO_READ} {self.verdict()}", width=100, break_long_words=False),
        ]
        return "\n\n".join(parts) + "\n"

    def verdict(self) -> str:
        """Return one or two sentences: what the matrix says, read on its own diagonal and worst pair."""
        total, right = int(self.counts.sum()), int(np.trace(self.counts))
        if not total:
            return "There are no photos."
        said = f"Here {right} of {total} photos ({percent(right / total)}) are right."
        pairs = self.pairs()
        if not pairs:
            return said
        worst = pairs[0]
        support = int(self.counts[self.classes.index(worst.actual)].sum())
        actual, predicted = printable(worst.actual), printable(worst.predicted)
        return (
            f"{said} The most frequent mistake: {worst.count} of {support} photos of “{actual}” "
            f"({percent(worst.share)}) taken for “{predicted}”."
        )

    def _summary(self) -> str:
        """Return the most frequent mistakes and the worst classes, for more classes than a table can show."""
        pairs = self.pairs()
        mistakes = [["photos of", "taken for", "photos", "of the class"]]
        for pair in pairs[:MOST_LISTED]:
            names = [shorten(name, _NAME) for name in (pair.actual, pair.predicted)]
            mistakes.append([*names, str(pair.count), percent(pair.share)])
        support = self.counts.sum(axis=1)
        wrong = support - np.diag(self.counts)
        worst = sorted(np.flatnonzero(wrong), key=lambda row: (-wrong[row] / support[row], -wrong[row]))
        first: dict[str, str] = {}
        for pair in pairs:
            first.setdefault(pair.actual, f"{shorten(pair.predicted, _NAME)} ({pair.count})")
        classes = [["class", "photos", "wrong", "of the class", "most often taken for"]]
        for row in worst[:MOST_LISTED]:
            name, share = self.classes[row], percent(wrong[row] / support[row])
            classes.append([shorten(name, _NAME), str(support[row]), str(wrong[row]), share, first[name]])
        parts = [
            f"Confusion matrix of {len(self.classes)} classes: confusion_matrix.json holds it in full",
            f"Most frequent mistakes ({len(mistakes) - 1} of {len(pairs)} kinds)",
            align(mistakes),
            f"Classes with the largest share of mistakes ({len(classes) - 1} of {len(worst)} with any)",
            align(classes),
            textwrap.fill(self.verdict(), width=100, break_long_words=False),
        ]
        return "\n\n".join(parts) + "\n"

    def _table(self, cells: list[list[str]]) -> str:
        names = short_names(self.classes, _NAME)
        table = align([["", *names], *([name, *row] for name, row in zip(names, cells, strict=True))])
        if len(table.split("\n", 1)[0]) <= _LINE:
            return table
        # Too many or too long names for columns: number the classes instead.
        heads = [str(k) for k in range(1, len(names) + 1)]
        width = len(heads[-1])
        rows = [
            [f"{head:>{width}} {name}", *row] for head, name, row in zip(heads, names, cells, strict=True)
        ]
        return align([["", *heads], *rows], gap=1)


def _whole_percent(share: float) -> str:
    return "–" if np.isnan(share) else percent(share, digits=0).removesuffix(" %")
