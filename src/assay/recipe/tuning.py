"""The search space of `assay tune`, how many trials are drawn from it, and when bad ones end."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from assay.recipe.base import Settings
from assay.recipe.training import MAX_EPOCHS

MAX_TRIALS = 100_000
"""Upper limit of the number of trials."""


class RangeSpec(Settings):
    """A range of numbers; of whole numbers, if both limits are."""

    low: int | float
    """Smallest value."""
    high: int | float
    """Largest value."""
    log: bool = False
    """Draw values evenly on a logarithmic scale, as for learning rates."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be less than high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low}) must be positive on a logarithmic scale")
        return self


class HalvingSpec(Settings):
    """Asynchronous successive halving: only the best trials are trained on.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2020).
    """

    first_epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 2
    """Epochs after which a trial is compared with the others for the first time."""
    factor: Annotated[int, Field(ge=2, le=1000)] = 3
    """One in so many trials continues; the next comparison is after so many times the epochs."""


def _kind(value: Any) -> str:
    return "range" if isinstance(value, dict | RangeSpec) else "values"


def _require_list(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        text = "must be a list of values, such as [1, 2, 3], or a range, such as {low: 1, high: 3}"
        raise ValueError(text)  # noqa: TRY004 - what pydantic expects
    return value


Values = Annotated[tuple[Any, ...], Field(min_length=1, max_length=1000), BeforeValidator(_require_list)]
Domain = Annotated[Annotated[RangeSpec, Tag("range")] | Annotated[Values, Tag("values")], Discriminator(_kind)]
"""What is tried of a setting: the values of a list, or numbers of a range."""


class TuneSpec(Settings):
    """What `assay tune` searches."""

    space: dict[str, Domain] = Field(default={})
    """Values to try by setting, as `train.lr`: a list, or a range (`low`, `high`, `log`)."""
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    """Number of trials; null: all combinations, or 20 if the space has a range."""
    halving: HalvingSpec | None = HalvingSpec()
    """When trials of fine-tuning end early; null: never. Heads on a frozen backbone are always trained to the end."""
