"""Base class and value types of all settings, and the closest match to a mistyped name."""

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


def closest_match(name: str, known: Iterable[str]) -> str:
    """Return the entry of `known` most like `name`, by the ratio of matching characters.

    Raises:
        ValueError: `known` is empty.
    """
    return max(known, key=lambda candidate: SequenceMatcher(None, name.lower(), candidate.lower()).ratio())


class Settings(BaseModel):
    """A group of settings. Unknown keys are errors; attribute docstrings are the reference text."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Range = tuple[float, float]
