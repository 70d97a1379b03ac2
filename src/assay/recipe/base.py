"""Base class and value types of all settings, and the closest match to a mistyped name."""

import re
import types
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


def closest_match(name: str, known: Iterable[str]) -> str:
    """Return the entry of `known` most like `name`, by the ratio of matching characters.

    Raises:
        ValueError: `known` is empty.
    """
    return max(known, key=lambda candidate: SequenceMatcher(None, name.lower(), candidate.lower()).ratio())


class Settings(BaseModel):
    """A group of settings. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, values: Any) -> Any:
        """Refuse a bool where a number belongs; pydantic would convert it to 0 or 1."""
        if not isinstance(values, dict):
            return values
        errors = []
        for name, value in values.items():
            items = value if isinstance(value, list | tuple) else (value,)
            found = next((item for item in items if isinstance(item, bool)), None)
            if found is None or name not in cls.model_fields:
                continue
            annotation = cls.model_fields[name].annotation
            kinds = _types_in(annotation) if found is not value else set(union_members(annotation))
            if bool not in kinds and kinds & {int, float}:
                error = PydanticCustomError(
                    "bool_for_number",
                    "must be a number, not {found}",
                    {"found": str(found).lower()},
                )
                errors.append(InitErrorDetails(type=error, loc=(name,), input=value))
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return values


def matches(pattern: str, words: str) -> AfterValidator:
    """Return a validator of text that must match a pattern; `words` say how it must look, as "must be a digit"."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(words)
        return value

    return AfterValidator(check)


def _types_in(annotation: Any) -> set[Any]:
    """Return the types that an annotation is composed of."""
    parts = get_args(annotation)
    return set().union(*map(_types_in, parts)) if parts else {annotation}


def union_members(annotation: Any) -> list[Any]:
    """Return the types of which a value itself can be, not those of the items of a list; without their ranges."""
    if get_origin(annotation) is Annotated:
        return union_members(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return [member for part in get_args(annotation) for member in union_members(part)]
    return [annotation]


Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Range = tuple[float, float]
