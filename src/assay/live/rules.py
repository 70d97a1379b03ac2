"""Event rules such as `animal>0.9 for 1s`: parsing, and the trigger with hold time and cool-down."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from assay.core.duration import parse_duration
from assay.core.errors import UsageError
from assay.core.text_layout import join_names
from assay.live.smoothing import SmoothedPrediction
from assay.live.sources import TIME_EPSILON

_RULE = re.compile(
    r"(?P<negated>not\s+)?(?P<names>.+?)\s*(?:>=?\s*(?P<above>[0-9.]+))?(?:\s+for\s+(?P<hold>[0-9.]+\s*[a-z]*))?",
    re.IGNORECASE,
)
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on smoothed predictions, and how long it must hold.

    Attributes:
        names: classes, any of which matches; empty: the rule matches `unknown`.
        above: threshold that the sum of their probabilities must exceed; None: the label must be one of them.
        hold: seconds for which it must hold without interruption.
    """

    text: str
    names: tuple[str, ...]
    above: float | None = None
    negated: bool = False
    hold: float = 0.0

    @classmethod
    def parse(cls, text: str, classes: Sequence[str]) -> "Rule":
        """Parse `[not] CLASS[|CLASS...][>P] [for TIME]`, or `unknown` in place of the classes.

        Classes of the model named `unknown` or `not x` take precedence over the keyword.

        Raises:
            UsageError: it is not a rule, or names a class that the model does not have.
        """
        found = _RULE.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"{text!r} is not a rule: write it like 'animal>0.9 for 1s'")
        names, negated = found["names"], bool(found["negated"])
        if negated and f"{found['negated']}{names}" in classes:
            names, negated = f"{found['negated']}{names}", False
        hold = parse_duration(found["hold"]) if found["hold"] else 0.0
        above = None if found["above"] is None else _parse_probability(found["above"], text)
        if names == _UNKNOWN and names not in classes:
            if above is not None:
                raise UsageError(f"{text!r}: unknown has no probability: write 'unknown for 2s'")
            return cls(text, (), None, negated, hold)
        return cls(text, _parse_class_names(names, classes, text), above, negated, hold)

    def matches(self, prediction: SmoothedPrediction) -> bool:
        """Return whether a prediction meets the condition, regardless of the hold time.

        An unknown prediction matches no rule about classes, negated or not.
        """
        if not self.names:
            return bool(prediction.unknown) != self.negated
        return not prediction.unknown and self._matches_classes(prediction) != self.negated

    def _matches_classes(self, prediction: SmoothedPrediction) -> bool:
        if self.above is None:
            return prediction.label in self.names
        return sum(prediction.probabilities[name] for name in self.names) > self.above


class RuleTrigger:
    """Decides when a rule triggers: once, and again after it was false and the cool-down has passed."""

    def __init__(self, rule: Rule, cool_down: float = 0.0) -> None:
        self.rule = rule
        self._cool_down = cool_down
        self._since: float | None = None
        self._triggered = False
        self._last: float | None = None

    def reset(self) -> None:
        """Restart the hold time, after a gap."""
        self._since = None

    def update(self, prediction: SmoothedPrediction, time: float) -> bool:
        """Add the prediction at a time in seconds; return whether the rule triggers."""
        if not self.rule.matches(prediction):
            self._since, self._triggered = None, False
            return False
        if self._since is None:
            self._since = time
        cooled_down = self._last is None or time - self._last >= self._cool_down - TIME_EPSILON
        if self._triggered or not cooled_down or time - self._since < self.rule.hold - TIME_EPSILON:
            return False
        self._triggered, self._last = True, time
        return True


def _parse_probability(text: str, rule: str) -> float:
    try:
        probability = float(text)
    except ValueError:
        probability = -1.0
    if not 0 <= probability < 1:
        raise UsageError(f"{rule!r}: {text} is not a probability below 1")
    return probability


def _parse_class_names(names: str, classes: Sequence[str], rule: str) -> tuple[str, ...]:
    parsed = (names,) if names in classes else tuple(name.strip() for name in names.split("|"))
    for name in parsed:
        if name not in classes:
            raise UsageError(f"{rule!r}: the model has no class {name!r}; its classes are {join_names(classes)}")
    return parsed
