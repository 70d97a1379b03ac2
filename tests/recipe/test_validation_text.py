"""Errors of settings name what to write in YAML, not the types of Python or pydantic."""

from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.recipe.load import load_recipe, parse_recipe
from assay.recipe.safe_yaml import parse_yaml

_LIBRARY_WORDS = (
    "tuple",
    "dictionary",
    "instance of",
    "Input",
    "should",
    "Field required",
    "integer",
    "boolean",
    "regex",
    "strings",
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tune: {space: {train.lr: 0.1}}",
            "tune.space.train.lr: must be a list of values, such as [1, 2, 3], or a range",
        ),
        (
            "tune: {space: {train.lr: abc}}",
            "tune.space.train.lr: must be a list of values, such as [1, 2, 3], or a range",
        ),
        ("tune: {space: {train.lr: []}}", "tune.space.train.lr: must have at least 1 value, not 0"),
        ("tune: {space: {train.lr: {low: 1}}}", "tune.space.train.lr.high: is missing"),
        ("tune: {space: {train.lr: {low: a, high: 1}}}", "tune.space.train.lr.low: must be a number (given: 'a')"),
        (
            "tune: {space: {train.lr: {lo: 1, low: 1, high: 2}}}",
            "no setting is called 'tune.space.train.lr.lo'; the nearest is",
        ),
        ("tune: {space: [train.lr]}", "tune.space: must be names with values, such as {name: value}"),
        ("tune: 3", "tune: must be names with values"),
        ("tune: {trials: many}", "tune.trials: must be a whole number (given: 'many')"),
        ("tune: {halving: true}", "tune.halving: must be names with values"),
        ("train: {epochs: 1.5}", "train.epochs: must be a whole number (given: 1.5)"),
        ("train: {epochs: 0}", "train.epochs: must be greater than or equal to 1 (given: 0)"),
        ("train: {lr: [1]}", "train.lr: must be a number"),
        ("train: {lr: .inf}", "train.lr: must be a finite number"),
        ("train: {source_labels: maybe}", "train.source_labels: must be true or false"),
        ("train: {strategy: foo}", "train.strategy: must be 'auto', 'scratch', 'probe', 'finetune' or 'staged'"),
        ("train: {auto: {backbones: resnet18}}", "train.auto.backbones: must be a list, such as [a, b]"),
        ("preprocess: {roi: [0, 1]}", "preprocess.roi: has too few values (given: [0, 1])"),
        ("preprocess: {roi: [0, 0, 1, 1, 1]}", "preprocess.roi: must have at most 4 values, not 5"),
        ("data: {class_mapping: {a: cat}}", "data.class_mapping.a: must be a list"),
        ("augment: {train: [{name: flip}]}", "augment.train.0: 'name' must be one of 'random_resized_crop'"),
        ("augment: {train: [{p: 0.5}]}", "augment.train.0: 'name' is missing"),
        ("augment: {train: [rotate]}", "augment.train.0: must be names with values"),
        ("name: a/b", "name: must not be empty, start with a dot, or contain slashes"),
        ("name: ''", "name: must not be empty, start with a dot, or contain slashes"),
        ("description: [a]", "description: must be text"),
        (
            "description: {null: .nan, b c: [true, -.inf]}",
            "description: must be text (given: {null: .nan, 'b c': [true, -.inf]})",
        ),
        ("train: {epochs: null}", "train.epochs: must be a whole number (given: null)"),
        ("data: {layout: true}", "data.layout: must be 'auto', 'classes' or 'splits' (given: true)"),
        ("data: {null: 1}", "data: YAML reads this name as nothing (null); put it in quotes"),
        ("1: 2", "recipe: YAML reads this name as the number 1; put it in quotes"),
        ("train: {auto: {yes: 1}}", "train.auto: YAML reads this name as true, as it reads yes, no, on and off"),
        ("data: {class_mapping: {values: cat}}", "data.class_mapping.values: must be a list"),
        ("data: {class_mapping: {int: cat}}", "data.class_mapping.int: must be a list"),
        ("preprocess: {roi: true}", "preprocess.roi: must be a list, such as [a, b] (given: true)"),
        ("preprocess: {roi: [0, 0, true, 1]}", "preprocess.roi: must be a number, not true"),
    ],
)
def test_errors_are_in_the_words_of_a_recipe(text: str, message: str):
    with pytest.raises(UsageError) as caught:
        parse_recipe(parse_yaml(text), "mine.yaml")
    said = str(caught.value)
    assert said.startswith(f"recipe mine.yaml: {message}")
    assert [word for word in _LIBRARY_WORDS if word in said] == []


@pytest.mark.parametrize("setting", ["net.resnet.layers", "net.resnet.widths", "net.convnet.filters"])
@pytest.mark.parametrize("values", ["[a, b, c, d]", "[[], 1, {}, 2]", "[null]"])
def test_a_list_whose_values_are_wrong_is_not_called_empty(setting: str, values: str):
    group, part, name = setting.split(".")
    with pytest.raises(UsageError, match=f"{setting}.0: must be a whole number") as caught:
        parse_recipe(parse_yaml(f"{group}: {{{part}: {{{name}: {values}}}}}"), "mine.yaml")
    assert "at least" not in str(caught.value)
    with pytest.raises(UsageError, match=f"{setting}: must have at least 1 value, not 0"):
        parse_recipe(parse_yaml(f"{group}: {{{part}: {{{name}: []}}}}"), "mine.yaml")


@pytest.mark.parametrize("text", ["3", "[a]", "abc", "null: 1\n---\nb", "true"])
def test_a_file_that_is_no_recipe_is_described_in_yaml(tmp_path: Path, text: str):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_recipe(str(path))
    assert not [
        word for word in (*_LIBRARY_WORDS, " int", " str", " list", " bool", "NoneType") if word in str(caught.value)
    ]
