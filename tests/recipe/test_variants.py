"""Lists of variants."""

from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.recipe import load_recipe
from assay.recipe.variants import dump_variants, load_variants, parse_variants, show_variants, variant_names


def test_built_in_lists_survive_a_round_trip():
    for name in variant_names():
        recipes = load_variants(name)
        assert parse_variants(dump_variants(recipes), name) == recipes
        assert [recipe.name for recipe in recipes.values()] == list(recipes)


def test_vehicle_animal_list_has_five_offline_variants():
    recipes = load_variants("vehicle-animal", ["train.epochs=3"])
    assert len(recipes) == 5
    assert len({recipe.model_copy(update={"name": ""}).model_dump_json() for recipe in recipes.values()}) == 5
    assert {recipe.train.epochs for recipe in recipes.values()} == {3}
    assert {recipe.data.positive_class for recipe in recipes.values()} == {"animal"}
    assert {recipe.net.name for recipe in recipes.values() if recipe.net.weights != "none"} == {"efficientnet-lite0"}


def test_recipes_are_searched_beside_the_list(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("extends: bottle\ntrain: {epochs: 7}", encoding="utf-8")
    (tmp_path / "list.yaml").write_text(
        "a: {recipe: mine.yaml}\nb: {recipe: mine.yaml, set: [train.epochs=8]}", encoding="utf-8"
    )
    assert [item.train.epochs for item in load_variants(tmp_path / "list.yaml").values()] == [7, 8]


def test_description_is_in_the_list_or_the_recipe(tmp_path: Path):
    (tmp_path / "list.yaml").write_text(
        "a: {recipe: bottle, description: 'wide: yes'}\nb: {recipe: bottle, set: [train.epochs=2]}",
        encoding="utf-8",
    )
    recipes = load_variants(tmp_path / "list.yaml")
    assert recipes["a"].description == "wide: yes"
    assert recipes["b"].description == load_recipe("bottle").description
    assert all(item.description for item in load_variants("vehicle-animal").values())


def test_list_is_shown_as_written():
    assert "convnet:\n  recipe: vehicle-animal\n" in show_variants("vehicle-animal")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {recipe: bottle}", "two variants or more"),
        ("- bottle\n- default", "two variants or more"),
        ("a: [", "not valid YAML"),
        ("a: bottle\nb: {recipe: bottle}", "must look like"),
        ("a: {recipe: bottle, sets: []}\nb: {recipe: bottle}", "'set'"),
        ("a: {recipe: bottle, set: train.epochs=5}\nb: {recipe: bottle}", "must be a list"),
        ("a: {recipe: botle}\nb: {recipe: bottle}", "'bottle'"),
        ("a: {recipe: bottle, set: [train.epoch=5]}\nb: {recipe: bottle}", "'epochs'"),
        ("a: {recipe: bottle, description: 3}\nb: {recipe: bottle}", "description must be text"),
        ("../a: {recipe: bottle}\nb: {recipe: bottle}", "becomes a folder"),
        ("a: {recipe: bottle}\nb: {recipe: vehicle-animal}", "differ"),
        ("a: {recipe: bottle}\nb: {recipe: bottle, set: [train.seed=1]}", "train.seed of a and b differ"),
    ],
)
def test_invalid_lists_raise(tmp_path: Path, text: str, message: str):
    (tmp_path / "list.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message) as caught:
        load_variants(tmp_path / "list.yaml")
    assert "\n\n" not in str(caught.value)


def test_misspelled_name_suggests_the_closest():
    with pytest.raises(UsageError, match="'vehicle-animal'"):
        load_variants("vehicle-animals")


@pytest.mark.parametrize("name", ["yes", "007", "null", "2024-01-01"])
def test_ambiguous_variant_names_must_be_quoted(tmp_path: Path, name: str):
    path = tmp_path / "list.yaml"
    path.write_text(f"{name}: {{recipe: default}}\nother: {{recipe: default}}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="put it in quotes"):
        load_variants(path)
    path.write_text(f"'{name}': {{recipe: default}}\nother: {{recipe: default}}\n", encoding="utf-8")
    assert name in load_variants(path)
