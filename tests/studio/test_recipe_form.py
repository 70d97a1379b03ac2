"""The form of advanced settings: every default is the recipe's, and only changes reach the command."""

import pytest

from assay.core.errors import AssayError, UsageError
from assay.recipe import load_recipe
from assay.studio.recipe_form import PREFIX, recipe_groups, settings_arguments, training_arguments


def test_unchanged_settings_are_not_passed_on():
    fields = {PREFIX + field.key: field.value for group in recipe_groups() for field in group.fields}
    assert len(fields) > 30
    assert settings_arguments({**fields, "minutes": "5"}) == []


def test_changes_become_settings_of_the_command():
    values = {PREFIX + "train.lr": "0.001", PREFIX + "train.workers": "0", PREFIX + "net.name": "resnet18"}
    arguments = settings_arguments(values)
    recipe = load_recipe("default", arguments)
    assert (recipe.train.lr, recipe.train.workers, recipe.net.name) == (0.001, 0, "resnet18")
    assert settings_arguments({PREFIX + "train.gradient_clip": ""}) == []


def test_choices_are_those_of_the_schema():
    (field,) = [field for group in recipe_groups() for field in group.fields if field.key == "preprocess.resize_mode"]
    assert (field.kind, field.value, set(field.choices)) == ("choice", "stretch", {"stretch", "crop", "letterbox"})
    assert all(field.description for group in recipe_groups() for field in group.fields if field.kind == "switch")


@pytest.mark.parametrize(
    ("name", "value"),
    [("train.lr", "-1"), ("train.lr", "x"), ("train.epochs", "0"), ("absent.key", "1"), ("train.lr=1 --run", "x")],
)
def test_invalid_settings_are_refused_with_a_sentence(name: str, value: str):
    with pytest.raises(AssayError):
        settings_arguments({PREFIX + name: value})


def test_budget_and_target_become_options_of_the_command():
    assert training_arguments({"minutes": "5", "objective": "accuracy", "target_percent": ""}) == ["--minutes", "5"]
    values = {
        "minutes": "0.5",
        "objective": "balanced_accuracy",
        "target_percent": " 97.9 ",
        PREFIX + "train.lr": "0.5",
    }
    expected = "--minutes 0.5 --objective balanced_accuracy --target-precision 0.979 --set train.lr=0.5"
    assert training_arguments({**values, PREFIX + "train.lr": "0.5"}) == expected.split()
    fixed = training_arguments({"minutes": "5", PREFIX + "train.strategy": "finetune"})
    assert fixed == ["--set", 'train.strategy="finetune"']


@pytest.mark.parametrize(
    ("name", "value"),
    [("minutes", "0"), ("minutes", "1e9"), ("minutes", "x"), ("minutes", "nan")]
    + [("target_percent", value) for value in ("0.98", "50", "100", "inf", "x")],
)
def test_an_impossible_budget_or_target_is_a_sentence(name: str, value: str):
    with pytest.raises(UsageError, match=name.removeprefix("target_")):
        training_arguments({name: value})
