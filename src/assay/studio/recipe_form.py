"""The form of a training: budget and target, and the advanced settings, made from the schema of the recipe."""

import ast
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from assay.core.errors import UsageError
from assay.recipe import load_recipe
from assay.recipe.base import Settings

Kind = Literal["number", "integer", "choice", "switch", "text"]

MAX_MINUTES: Final = 24 * 60
TARGET_PERCENT: Final = (50, 99.99)
"""Correct answers that can be asked for: more than, and at most."""
PREFIX: Final = "set."
"""Of the names of the form's fields."""
_SECTIONS: Final = ("data", "preprocess", "net", "train", "abstain", "serve")
_OWN_FIELDS: Final = frozenset({"train.auto.minutes", "train.objective", "abstain.target_precision"})
"""Those that the page has beside the form."""
_KEY = re.compile(r"[a-z_0-9]+(\.[a-z_0-9]+)+")


@dataclass(frozen=True)
class RecipeField:
    """One setting of the form."""

    key: str
    """As in `--set KEY=VALUE`."""
    kind: Kind
    value: str
    """Of the recipe `default`; empty: unset."""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    optional: bool = False
    description: str = ""


@dataclass(frozen=True)
class RecipeGroup:
    """A section of the recipe."""

    name: str
    fields: tuple[RecipeField, ...]


@cache
def recipe_groups() -> tuple[RecipeGroup, ...]:
    """Return the settings with a single value, by section, with the values of the recipe `default`."""
    recipe = load_recipe("default")
    return tuple(RecipeGroup(name, tuple(_fields(getattr(recipe, name), name))) for name in _SECTIONS)


def training_arguments(values: Mapping[str, Any]) -> list[str]:
    """Return the options of `assay train` for the form of the page: budget, objective, target, changed settings.

    Raises:
        UsageError: a field has an invalid value.
    """
    settings = settings_arguments(values)
    arguments = []
    minutes, percent = (str(values.get(name, "")).strip() for name in ("minutes", "target_percent"))
    if minutes and not any(item.startswith("train.strategy=") for item in settings):
        arguments += ["--minutes", f"{_number(minutes, 'minutes', 0, MAX_MINUTES):g}"]
    if values.get("objective") == "balanced_accuracy":
        arguments += ["--objective", "balanced_accuracy"]
    if percent:
        share = _number(percent, "percent of correct answers", *TARGET_PERCENT) / 100
        arguments += ["--target-precision", f"{share:.6g}"]
    return [*arguments, *(word for item in settings for word in ("--set", item))]


def _number(given: str, name: str, low: float, high: float) -> float:
    try:
        number = float(given)
    except ValueError:
        raise UsageError(f"Give the {name} as a number") from None
    if not low < number <= high:
        raise UsageError(f"Give more than {low} and at most {high} {name}")
    return number


def settings_arguments(values: Mapping[str, Any]) -> list[str]:
    """Return the `KEY=VALUE` of the settings in a form that differ from those of the recipe `default`.

    Raises:
        UsageError: a setting is unknown or has an invalid value.
    """
    known = {field.key: field for group in recipe_groups() for field in group.fields}
    changed = []
    for name, value in values.items():
        if not name.startswith(PREFIX):
            continue
        field = known.get(name.removeprefix(PREFIX))
        if field is None or not _KEY.fullmatch(field.key) or not isinstance(value, str):
            raise UsageError(f"There is no setting {name.removeprefix(PREFIX)}")
        if value.strip() != field.value:
            changed.append(f"{field.key}={_yaml(field, value.strip())}")
    load_recipe("default", changed)  # raises if they are invalid or do not fit together
    return changed


def _yaml(field: RecipeField, value: str) -> str:
    if not value and field.optional:
        return "null"
    return json.dumps(value, ensure_ascii=False) if field.kind in {"text", "choice"} else value


def _fields(settings: Settings, prefix: str) -> Iterator[RecipeField]:
    descriptions = attribute_docstrings(type(settings))
    for name, info in type(settings).model_fields.items():
        key, value = f"{prefix}.{name}", getattr(settings, name)
        if isinstance(value, Settings):
            yield from _fields(value, key)
        elif key not in _OWN_FIELDS and (field := _field(key, value, info)) is not None:
            yield replace(field, description=descriptions.get(name, ""))


def attribute_docstrings(settings: type[Settings]) -> dict[str, str]:
    """Return the docstrings below the fields of a class, which are the reference text of the recipe, by field.

    Pydantic could read them too, but would read the source of every class at every start of a command.
    """
    tree = ast.parse(inspect.getsource(inspect.getmodule(settings) or settings))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == settings.__name__]
    found = {}
    for field, text in pairwise(body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            found[field.target.id] = " ".join(text.value.value.split())
    return found


def _field(key: str, value: object, info: FieldInfo) -> RecipeField | None:
    """Return the field of a setting; None if it is a list or a group."""
    types = _plain_types(info.annotation)
    optional = NoneType in types
    types.pop(NoneType, None)
    choices = tuple(item for item in types if isinstance(item, str))
    kind: Kind | None = None
    if choices and len(choices) == len(types):
        kind = "choice"
    elif [*types] == [bool]:
        kind = "switch"
    elif [*types] == [int]:
        kind = "integer"
    elif [*types] == [float]:
        kind = "number"
    elif [*types] == [str]:
        kind = "text"
    if kind is None:
        return None
    low, high = _limits(info)
    shown = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return RecipeField(key, kind, shown, choices, low, high, optional)


def _plain_types(annotation: Any) -> dict[Any, None]:
    """Return the types of a union and the values of a Literal, in order; other annotations as they are."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain_types(get_args(annotation)[0])
    if origin is Literal:
        return dict.fromkeys(get_args(annotation))
    if origin in {Union, UnionType}:
        return {kind: None for item in get_args(annotation) for kind in _plain_types(item)}
    return {annotation: None}


def _limits(info: FieldInfo) -> tuple[float | None, float | None]:
    low: float | None = None
    high: float | None = None
    for item in info.metadata:
        low = getattr(item, "ge", getattr(item, "gt", low))
        high = getattr(item, "le", getattr(item, "lt", high))
    return low, high
