"""Loading of recipes: by name or from a YAML file, with `extends` and `--set` overrides, validated."""

import os
from collections.abc import Mapping, Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from assay.core.errors import UsageError
from assay.core.files import read_text, require_regular_file
from assay.recipe.base import closest_match
from assay.recipe.recipe import Recipe
from assay.recipe.safe_yaml import MAX_CHARACTERS, YamlError, parse_yaml
from assay.recipe.validation_text import as_yaml, describe_invalid

_FOLDER = resources.files("assay.recipe") / "recipes"
_MAX_EXTENDS = 10
"""Longest chain of recipes that extend each other."""
_MAX_DEPTH = 10
_MAX_ERRORS = 10
_MAX_SHOWN = 100
_TAGS = {"values", "range", "int", "float"}
"""Alternatives of a value that pydantic adds to its place in `tune.space`."""
_SPACE = ("tune", "space")
_SCALARS = (bool, int, float, date, type(None))
"""Types that YAML gives names such as yes, 007, 1.5, 2024-01-01 and null."""


def recipe_names() -> list[str]:
    """Return the names of the built-in recipes in alphabetical order."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(source: str | Path = "default", overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe by name or from a file and apply overrides.

    A file may contain `extends: NAME` (a recipe's name, or a file in the same folder) and then needs only the
    settings that differ. Mappings are merged key by key; lists are replaced as a whole.

    Args:
        source: name of a built-in recipe, or the path of a YAML file.
        overrides: settings such as `train.epochs=5`; values are YAML.

    Raises:
        UsageError: there is no such recipe or setting, or a value is not allowed.
    """
    values = _read(str(source), ())
    for override in overrides:
        _apply_override(values, override)
    return parse_recipe(values, str(source))


def parse_recipe(values: Mapping[str, Any], source: str) -> Recipe:
    """Validate nested settings.

    Args:
        values: nested settings, as parsed from YAML.
        source: their origin, for error messages.

    Raises:
        UsageError: a key is unknown (the closest known one is named) or a value is not allowed.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        errors = [each for each in error.errors() if not _is_repeated(each)]
        every = list(dict.fromkeys(map(_format_error, errors)))
        messages = every[:_MAX_ERRORS]
        more = [f"and {len(every) - _MAX_ERRORS} more"] if len(every) > _MAX_ERRORS else []
        raise UsageError(f"recipe {source}: " + "; ".join([*messages, *more])) from None


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML; `load_recipe` reads it back to an equal recipe."""
    values = recipe.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def _read(source: str, seen: tuple[str, ...]) -> dict[str, Any]:
    place = source if source in recipe_names() else os.path.abspath(source)  # noqa: PTH100 - any text will do
    if place in seen or len(seen) >= _MAX_EXTENDS:
        raise UsageError(f"recipe {source} extends itself, or too many others: {' → '.join([*seen, place])}")
    text, folder = _read_source(source)
    try:
        values = parse_yaml(text)
    except YamlError as error:
        raise UsageError(f"recipe {source} is not valid YAML: {error}") from None
    if values is None:
        raise UsageError(f"recipe {source} is empty: write at least one setting, as `extends: default`")
    if not isinstance(values, dict):
        raise UsageError(
            f"recipe {source} must be names with values, such as `extends: default` (given: {_shorten(values)})"
        )
    base = values.pop("extends", None)
    if base is None:
        return values
    if str(base) not in recipe_names():
        base = folder / str(base)
    return _merge(_read(str(base), (*seen, place)), values)


def _read_source(source: str) -> tuple[str, Path]:
    if source in recipe_names():
        return (_FOLDER / f"{source}.yaml").read_text(encoding="utf-8"), Path()
    path = Path(source)
    require_regular_file(path)
    if path.suffix in {".yaml", ".yml"} and not path.is_file():
        raise UsageError(f"the recipe {source} does not exist")
    if not path.is_file():
        names = recipe_names()
        raise UsageError(
            f"no recipe is called {source!r} and no such file exists; "
            f"the nearest name is {closest_match(source, names)!r} (all: {', '.join(names)})"
        )
    try:
        return read_text(path, MAX_CHARACTERS), path.parent
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe {source} cannot be read as UTF-8 text: {error}") from None


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise UsageError(f"--set {_shorten(override)} must look like train.epochs=5")
    try:
        value = parse_yaml(text)
    except YamlError as error:
        raise UsageError(f"--set {_shorten(override)}: this is no valid value ({error})") from None
    if value == text.strip():
        value = _parse_number(value)
    *path, last = key.split(".")
    if len(path) >= _MAX_DEPTH:
        raise UsageError(f"--set {_shorten(override)}: no setting has so many parts")
    for part in path:
        child = values.get(part)
        values[part] = dict(child) if isinstance(child, dict) else {}
        values = values[part]
    values[last] = value


def _parse_number(text: str) -> str | float:
    """Return an unquoted 1e-4 as a number; YAML 1.1 reads it as text."""
    try:
        return float(text)
    except ValueError:
        return text


def _describe_non_text(value: object) -> str:
    """Describe what YAML made of an unquoted name such as yes, 007 or null."""
    if value is None:
        kind = "nothing (null)"
    elif isinstance(value, bool):
        kind = f"{str(value).lower()}, as it reads yes, no, on and off"
    elif isinstance(value, int | float):
        kind = f"the number {_shorten(value)}"
    else:
        kind = f"the date {value}"
    return f"YAML reads this name as {kind}; put it in quotes, as in 'yes' or '007'"


def _format_error(error: ErrorDetails) -> str:
    loc = error["loc"]
    parts = [part for part in loc if part not in _TAGS] if loc[:2] == _SPACE else list(loc)
    too_few = error["type"] == "missing" and isinstance(parts[-1], int)
    where = ".".join(str(part)[:_MAX_SHOWN] for part in (parts[:-1] if too_few else parts)) or "recipe"
    if error["type"] == "extra_forbidden":
        near = closest_match(str(error["loc"][-1])[:_MAX_SHOWN], _known_keys(error["loc"][:-1]))
        return f"no setting is called {where!r}; the nearest is {near!r}"
    if error["type"] == "invalid_key" and isinstance(error["input"], _SCALARS):
        return f"{'.'.join(map(str, parts[:-1])) or 'recipe'}: {_describe_non_text(error['input'])}"
    if error["type"] == "string_type" and isinstance(error["input"], _SCALARS):
        return f"{where.removesuffix('.[key]')}: {_describe_non_text(error['input'])}"
    message = "has too few values" if too_few else describe_invalid(error)
    given = "" if error["type"] in {"value_error", "bool_for_number"} else f" (given: {_shorten(error['input'])})"
    return f"{where}: {message}{given}"


def _is_repeated(error: ErrorDetails) -> bool:
    """Whether another error says the same or what is true."""
    loc = error["loc"]
    if loc[:2] == _SPACE and loc[-1] == "int":
        return True  # a value that is no number is no whole number either
    # Of a list, pydantic counts only the values that are valid.
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _shorten(value: object) -> str:
    text = as_yaml(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    """Return the names allowed at a path of the schema; union tags and list indices select a member."""
    kinds: list[Any] = [Recipe]
    for part in path:
        found = [_annotation(kind, part) for kind in kinds]
        kinds = [kind for kind in found if kind is not None] or kinds
    for kind in kinds:
        for model in _models(kind, path[-1] if path else None):
            return list(model.model_fields)
    return list(Recipe.model_fields)


def _annotation(kind: Any, part: int | str) -> Any:
    for model in _models(kind, None):
        if isinstance(part, str) and part in model.model_fields:
            return model.model_fields[part].annotation
    return None


def _models(kind: Any, tag: int | str | None) -> list[type[BaseModel]]:
    """Return the settings classes in an annotation, those whose `name` is `tag` first."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    inner = [model for part in get_args(kind) for model in _models(part, tag)]
    return sorted(
        inner,
        key=lambda model: tag not in get_args(getattr(model.model_fields.get("name"), "annotation", None)),
    )
