"""Lists of recipe variants to compare: names, each with a recipe and its overrides."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from assay.core.errors import UsageError
from assay.core.files import read_text, require_regular_file
from assay.recipe.base import closest_match
from assay.recipe.load import load_recipe, parse_recipe, recipe_names
from assay.recipe.recipe import Recipe
from assay.recipe.safe_yaml import MAX_CHARACTERS, YamlError, parse_yaml

_FOLDER = resources.files("assay.recipe") / "variant_lists"
_KEYS = ("recipe", "set", "description")
_FORBIDDEN_CHARACTERS = set('/\\:*?"<>|')
_REQUIREMENT = "all variants must have the same photos in the same splits"


def variant_names() -> list[str]:
    """Return the names of the built-in lists in alphabetical order."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml"))


def load_variants(source: str | Path, overrides: Sequence[str] = ()) -> dict[str, Recipe]:
    """Load a list of variants by name or from a file.

    The file maps the name of each variant to its recipe, the overrides as for `--set`, and a description for
    the table (by default the recipe's)::

        small: {recipe: custom-resnet, set: ["net.resnet.widths=[16, 32]"], description: half the filters}
        large: {recipe: custom-resnet}

    Args:
        source: name of a built-in list, or the path of a YAML file; paths of recipes are relative to it.
        overrides: settings for all variants, such as `train.epochs=5`, applied last.

    Returns:
        The recipes by variant, in the order of the file; the name of each recipe is that of its variant.

    Raises:
        UsageError: there is no such list, recipe or setting, fewer than two variants, a name that a folder
            cannot have, or variants with different splits.
    """
    text, folder = _read_source(str(source))
    try:
        values = parse_yaml(text)
    except YamlError as error:
        raise UsageError(f"variants {source} is not valid YAML: {error}") from None
    if not isinstance(values, dict) or len(values) < 2:
        raise UsageError(f"variants {source} must name two variants or more, each with its recipe")
    if unquoted := [name for name in values if not isinstance(name, str)]:
        raise UsageError(
            f"variants {source}: YAML reads the name of a variant as {unquoted[0]!r}, not as text; put it in quotes"
        )
    recipes = {name: _parse_variant(name, value, folder, overrides) for name, value in values.items()}
    check_same_data(recipes)
    return recipes


def show_variants(source: str | Path) -> str:
    """Return the text of a list by name or file, to copy and change.

    Raises:
        UsageError: there is no such list.
    """
    return _read_source(str(source))[0]


def dump_variants(recipes: dict[str, Recipe]) -> str:
    """Return recipes with all settings as YAML; `parse_variants` reads it back to equal recipes."""
    values = {name: recipe.model_dump(mode="json") for name, recipe in recipes.items()}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def parse_variants(text: str, source: str) -> dict[str, Recipe]:
    """Parse the output of `dump_variants`; `source` is named in errors.

    Raises:
        UsageError: the text is not valid.
    """
    try:
        values = parse_yaml(text)
    except YamlError as error:
        raise UsageError(f"{source} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{source} holds no recipes")
    return {str(name): parse_recipe(value, f"{source}, {name}") for name, value in values.items()}


def check_same_data(recipes: dict[str, Recipe]) -> None:
    """Check that the classifiers of several recipes can be compared photo by photo.

    Raises:
        UsageError: two recipes differ in the classes, the split or the seed.
    """
    (first_name, first), *others = recipes.items()
    for name, other in others:
        for setting, expected, found in (
            ("data.layout", first.data.layout, other.data.layout),
            ("data.class_mapping", first.data.class_mapping, other.data.class_mapping),
            ("data.split", first.data.split, other.data.split),
            ("data.positive_class", first.data.positive_class, other.data.positive_class),
            ("train.seed", first.train.seed, other.train.seed),
        ):
            if expected != found:
                raise UsageError(f"{setting} of {first_name} and {name} differ, but {_REQUIREMENT}: make them equal")


def _read_source(source: str) -> tuple[str, Path]:
    if source in variant_names():
        return (_FOLDER / f"{source}.yaml").read_text(encoding="utf-8"), Path()
    path = Path(source)
    require_regular_file(path)
    if not path.is_file():
        names = variant_names()
        raise UsageError(
            f"no list of variants is called {source!r} and no such file exists; "
            f"the nearest name is {closest_match(source, names)!r}"
        )
    try:
        return read_text(path, MAX_CHARACTERS), path.parent
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"variants {source} cannot be read as UTF-8 text: {error}") from None


def _parse_variant(name: str, value: Any, folder: Path, overrides: Sequence[str]) -> Recipe:
    if not name.strip(". ") or _FORBIDDEN_CHARACTERS & set(name):
        raise UsageError(f"variant {name!r}: the name becomes a folder; use letters, digits and hyphens")
    if not isinstance(value, dict) or "recipe" not in value:
        raise UsageError(f"variant {name} must look like {{recipe: NAME, set: [train.epochs=5]}}")
    if unknown := [str(key) for key in value if key not in _KEYS]:
        raise UsageError(
            f"variant {name}: no key is called {unknown[0]!r}; the nearest is {closest_match(unknown[0], _KEYS)!r}"
        )
    changes = value.get("set") or []
    if not isinstance(changes, list):
        raise UsageError(f"variant {name}: set must be a list such as [train.epochs=5, train.lr=1e-3]")
    recipe = str(value["recipe"])
    if recipe not in recipe_names() and (folder / recipe).is_file():
        recipe = str(folder / recipe)
    update = {"name": name}
    if (description := value.get("description")) is not None:
        if not isinstance(description, str):
            raise UsageError(f"variant {name}: description must be text; put it in quotes")
        update["description"] = description
    settings = [str(change) for change in changes]
    return load_recipe(recipe, [*settings, *overrides]).model_copy(update=update)
