"""Which photos a page shows, and how large: bounded, so that a page stays light however much went wrong."""

from collections.abc import Iterator
from typing import NamedTuple

from assay.evaluation.confusion import ConfusedPair
from assay.evaluation.misclassified import Mistake
from assay.evaluation.report.album import Wish
from assay.evaluation.report.facts import Facts, Suspect
from assay.evaluation.report.nearest import Neighbour

PAIRS = 6
"""Kinds of mistakes shown with photos."""

PAIR_PHOTOS = 6
SUSPECTS = 24
MISTAKES = 160
"""Misclassified photos shown; the tables list them all."""

MISTAKES_OPEN = 24
"""Misclassified photos that stand open; the others unfold."""

LARGE, MEDIUM, SMALL = 176, 120, 72


class ShownPair(NamedTuple):
    """A kind of mistake and its most confident photos."""

    pair: ConfusedPair
    photos: tuple[tuple[Mistake, Wish], ...]


class ShownSuspect(NamedTuple):
    """A doubtful label and its photo."""

    suspect: Suspect
    photo: Wish


class ShownMistake(NamedTuple):
    """A misclassified photo, its heat map, and the training photos most like it."""

    mistake: Mistake
    photo: Wish
    heat: Wish | None
    nearest: tuple[tuple[Neighbour, Wish], ...]


class Gallery(NamedTuple):
    """Everything that a page shows in pictures."""

    pairs: tuple[ShownPair, ...]
    suspects: tuple[ShownSuspect, ...]
    mistakes: tuple[ShownMistake, ...]

    def wishes(self) -> Iterator[Wish]:
        """Give every picture as often as it is shown, the most important first."""
        for pair in self.pairs:
            yield from (wish for _, wish in pair.photos)
        yield from (one.photo for one in self.suspects)
        for one in self.mistakes:
            yield one.photo
            if one.heat is not None:
                yield one.heat
            yield from (wish for _, wish in one.nearest)


def choose(facts: Facts, *, heat: bool) -> Gallery:
    """Choose the photos.

    Args:
        facts: what was counted.
        heat: whether heat maps can be made.
    """
    pairs = []
    for pair in facts.confusion.pairs()[:PAIRS]:
        kind = (pair.actual, pair.predicted)
        alike = [one for one in facts.mistakes if (one.actual, one.predicted) == kind][:PAIR_PHOTOS]
        pairs.append(ShownPair(pair, tuple((one, Wish(one.id, one.path, MEDIUM)) for one in alike)))
    suspects = (ShownSuspect(one, Wish(one.id, one.path, MEDIUM)) for one in facts.suspects[:SUSPECTS])
    classes = facts.predictions.classes
    mistakes = (
        ShownMistake(
            one,
            Wish(one.id, one.path, LARGE),
            Wish(one.id, one.path, LARGE, classes.index(one.predicted)) if heat else None,
            tuple((near, Wish(near.id, near.path, SMALL)) for near in neighbours),
        )
        for one, neighbours in zip(facts.mistakes[:MISTAKES], facts.neighbours[:MISTAKES], strict=True)
    )
    return Gallery(tuple(pairs), tuple(suspects), tuple(mistakes))
