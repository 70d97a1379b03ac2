"""The search space of `assay tune`: values and ranges of settings, from a recipe and from `--set`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from assay.core.errors import UsageError
from assay.recipe import HalvingSpec, RangeSpec, Recipe, TuneSpec

DEFAULT_TRIALS = 20
"""Number of trials of a space with a range, unless the recipe or the user says otherwise."""

Settings = tuple[str, ...]
"""Settings of a trial, such as `train.lr=0.01`, in the syntax of `--set`."""

_OF_THE_SEARCH = ("tune.space", "tune.trials")
"""What a trial does not use; `tune.halving` says when it ends."""


@dataclass(frozen=True)
class SearchSpace:
    """What every trial is drawn from."""

    domains: Mapping[str, tuple[str, ...] | RangeSpec]
    """By setting: its values in the syntax of `--set`, or a range."""

    @classmethod
    def of(cls, spec: TuneSpec, settings: Sequence[str] = ()) -> "SearchSpace":
        """Return the space of a recipe, in which `--set` options replace or add settings.

        Raises:
            UsageError: an option has no value, is given twice, or belongs to the search and not to a trial.
        """
        domains: dict[str, tuple[str, ...] | RangeSpec] = {}
        for name, domain in spec.space.items():
            domains[name] = domain if isinstance(domain, RangeSpec) else tuple(dict.fromkeys(map(_to_text, domain)))
        domains |= parse_values(settings)
        for name in domains:
            if name == "tune" or name.startswith(_OF_THE_SEARCH):
                raise UsageError(
                    f"{name} belongs to the search and is no setting of a trial: write it in the recipe, or give "
                    "--trials 20 and values such as --set train.lr=0.1,0.01"
                )
        return cls(domains)

    @property
    def has_range(self) -> bool:
        """Whether a setting is drawn from a range, so that there is no end of trials."""
        return any(isinstance(domain, RangeSpec) for domain in self.domains.values())

    @property
    def count(self) -> int:
        """Number of combinations of values; ranges count as one."""
        return prod(len(domain) for domain in self.domains.values() if not isinstance(domain, RangeSpec))

    def combinations(self) -> Iterator[Settings]:
        """Yield all combinations of values, the last setting changing first; ranges are at their low end."""
        values = [(domain.low,) if isinstance(domain, RangeSpec) else domain for domain in self.domains.values()]
        for chosen in product(*values):
            yield self.settings(dict(zip(self.domains, chosen, strict=True)))

    def settings(self, values: Mapping[str, Any]) -> Settings:
        """Return the settings of a trial: a text or a number for every setting of the space."""
        return tuple(f"{name}={_shorten(values[name])}" for name in self.domains)

    def range_below(self, names: Sequence[str]) -> str | None:
        """Return the first of some settings, or groups of settings, to which a range belongs."""
        ranges = [key for key, domain in self.domains.items() if isinstance(domain, RangeSpec)]
        return next((name for name in names if any(f"{key}.".startswith(f"{name}.") for key in ranges)), None)

    def trial_count(self, requested: int | None) -> int | None:
        """Return the number of trials to draw; None: all combinations are tried, once each."""
        if requested is None:
            return DEFAULT_TRIALS if self.has_range else None
        return None if not self.has_range and requested >= self.count else requested

    def stored_in(self, recipe: Recipe, trials: int | None, halving: HalvingSpec | None) -> Recipe:
        """Return a recipe with this space, number of trials and rule for ending them."""
        space: dict[str, Any] = {
            name: domain if isinstance(domain, RangeSpec) else list(domain) for name, domain in self.domains.items()
        }
        return recipe.model_copy(update={"tune": TuneSpec(space=space, trials=trials, halving=halving)})


def parse_values(settings: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of `--set` options such as `train.lr=1e-3,1e-2`.

    A comma within brackets belongs to the value: `net.head.hidden=[],[64],[128,64]` has three values. Repeated values
    count once.

    Raises:
        UsageError: a setting has no value, or is given twice.
    """
    options: dict[str, tuple[str, ...]] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        values = _split_values(text)
        if not equals or not key or not all(values):
            raise UsageError(f"--set {setting!r} must look like train.lr=1e-3,1e-2")
        if key in options:
            raise UsageError(f"--set {key} is given twice: give its values together, as train.lr=1e-3,1e-2")
        options[key] = tuple(dict.fromkeys(values))
    return options


def _split_values(text: str) -> list[str]:
    values, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]


def _to_text(value: Any) -> str:
    """Return a value of a recipe in the syntax of `--set`, which is YAML."""
    return value if isinstance(value, str) else json.dumps(value)


def _shorten(value: Any) -> str:
    """Return a number with as many digits as matter."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
