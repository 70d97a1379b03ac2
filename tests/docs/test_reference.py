"""The reference pages list all settings, and the index all pages."""

import re
from collections.abc import Iterator
from pathlib import Path
from pydoc import locate
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from assay.recipe import Recipe
from assay.serving.settings import ServeSettings

DOCS = Path(__file__).parents[2] / "docs"
_GENERATED = {"reference/commands.md", "index.md"}


def listed(page: str) -> set[object]:
    return {locate(name) for name in re.findall(r"^::: (\S+)$", (DOCS / page).read_text("utf-8"), re.MULTILINE)}


def classes_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the settings classes of an annotation, however they are nested in it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from classes_in(part)


def settings_of(model: type[BaseModel]) -> set[type[BaseModel]]:
    """Return the classes of all settings of a model, at any depth."""
    found = {part for field in model.model_fields.values() for part in classes_in(field.annotation)}
    return found | {deeper for part in found for deeper in settings_of(part)}


@pytest.mark.parametrize(
    ("model", "page"),
    [(Recipe, "reference/recipe.md"), (ServeSettings, "reference/server.md")],
    ids=["recipe", "server"],
)
def test_all_settings_are_listed(model: type[BaseModel], page: str):
    found = settings_of(model)
    assert len(found) > 10
    assert {item.__name__ for item in found - listed(page)} == set()


def test_the_index_links_all_pages():
    index = (DOCS / "index.md").read_text("utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - _GENERATED
    assert {page for page in pages if f"({page})" not in index} == set()
