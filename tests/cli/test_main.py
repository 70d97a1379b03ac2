"""Help, version, recipes, and how errors end."""

import pytest
import yaml

from assay import __version__
from assay.recipe import NETWORKS, recipe_names


def test_help_lists_every_command(assay):
    result = assay("--help")
    assert result.code == 0
    for name in ["demo", "train", "evaluate", "predict", "explain", "info", "recipes"]:
        assert f" {name} " in result.out


@pytest.mark.parametrize("command", ["demo", "train", "evaluate", "predict", "explain", "info"])
def test_every_command_gives_an_example(assay, command: str):
    assert f"assay {command}" in assay(command, "--help").out


def test_the_version_is_told(assay):
    assert assay("--version").out.strip() == f"assay {__version__}"


def test_recipes_are_listed_and_shown(assay):
    listed = assay("recipes", "list").out
    assert all(name in listed for name in recipe_names())
    shown = yaml.safe_load(assay("recipes", "show", "bottle", "--set", "train.epochs=3").out)
    assert shown["train"]["epochs"] == 3
    assert all(name in assay("recipes", "networks").out for name in NETWORKS)


def test_an_unknown_command_is_wrong_usage(assay):
    assert assay("trian").code == 2
