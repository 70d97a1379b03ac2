"""Event rules such as `animal>0.9 for 1s`: parsing, and the trigger with hold time and cool-down."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from assay.core.duration import parse_duration
from assay.core.errors import UsageError
from assay.core.tables import join_names
from assay.live.smoothing import SmoothedPrediction
from assay.live.sources import TIME_EPSILON

_RULE = re.compile(
    r"(?P<negated>not\s+)?(?P<names>.+?)\s*(?:>=?\s*(?P<above>[0-9.]+))?(?:\s+for\s+(?P<hold>[0-9.]+\s*[a-z]*))?",
    re.IGNORECASE,
)
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on answers, and how long it must hold.

    Attributes:
        text: as typed.
        names: classes, of which any will do; empty: the rule asks for `unknown`.
        above: what the sum of their probabilities must exceed; None: the label must be one of them.
        negated: whether the contrary is asked for.
        hold: seconds for which it must hold without a break.
    """

    text: str
    names: tuple[str, ...]
    above: float | None = None
    negated: bool = False
    hold: float = 0.0

    @classmethod
    def parse(cls, text: str, classes: Sequence[str]) -> "Rule":
        """Read `[not] CLASS[|CLASS...][>P] [for TIME]`, or `unknown` in the place of the classes.

        Args:
            text: as typed.
            classes: that the model knows; a class called `unknown` or `not x` comes before the word.

        Raises:
            UsageError: it is no rule, or speaks of classes that the model does not know.
        """
        found = _RULE.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"{text!r} is no rule: write it as in 'animal>0.9 for 1s'")
        names, negated = found["names"], bool(found["negated"])
        if negated and f"{found['negated']}{names}" in classes:
            names, negated = f"{found['negated']}{names}", False
        hold = parse_duration(found["hold"]) if found["hold"] else 0.0
        above = None if found["above"] is None else _parse_probability(found["above"], text)
        if names == _UNKNOWN and names not in classes:
            if above is not None:
                raise UsageError(f"{text!r}: unknown has no probability; write 'unknown for 2s'")
            return cls(text, (), None, negated, hold)
        return cls(text, _parse_class_names(names, classes, text), above, negated, hold)

    def met(self, answer: SmoothedPrediction) -> bool:
        """Tell whether an answer meets the condition, for however long.

        An unknown answer meets no rule about classes, neither the class nor its contrary.
        """
        if not self.names:
            return bool(answer.unknown) != self.negated
        return not answer.unknown and self._plain(answer) != self.negated

    def _plain(self, answer: SmoothedPrediction) -> bool:
        if self.above is None:
            return answer.label in self.names
        return sum(answer.probabilities[name] for name in self.names) > self.above


class RuleTrigger:
    """Tells when a rule comes true."""

    def __init__(self, rule: Rule, cool_down: float = 0.0) -> None:
        """Start with nothing seen.

        Args:
            rule: what to look for.
            cool_down: least seconds between two events.
        """
        self.rule = rule
        self._cool_down = cool_down
        self._since: float | None = None
        self._told = False
        self._last: float | None = None

    def restart(self) -> None:
        """Forget how long the rule has held: nothing was seen for a while."""
        self._since = None

    def update(self, answer: SmoothedPrediction, time: float) -> bool:
        """Take in the answer of a moment, in seconds; tell whether this is an event."""
        if not self.rule.met(answer):
            self._since, self._told = None, False
            return False
        if self._since is None:
            self._since = time
        cool = self._last is None or time - self._last >= self._cool_down - TIME_EPSILON
        if self._told or not cool or time - self._since < self.rule.hold - TIME_EPSILON:
            return False
        self._told, self._last = True, time
        return True


def _parse_probability(text: str, rule: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise UsageError(f"{rule!r}: {text} is no probability from 0 up to 1")
    return share


def _parse_class_names(names: str, classes: Sequence[str], rule: str) -> tuple[str, ...]:
    several = (names,) if names in classes else tuple(name.strip() for name in names.split("|"))
    for name in several:
        if name not in classes:
            raise UsageError(f"{rule!r}: the model knows no {name!r}; its classes are {join_names(classes)}")
    return several
