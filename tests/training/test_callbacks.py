"""Profiling of a run; it does not change the weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training import LabeledImages, fit
from assay.training.callbacks import BACKWARD, CHECKPOINTING, DATA_WAIT, FORWARD, OPTIMIZER, VALIDATION, Profile

MakeRecipe = Callable[..., Recipe]
MakeNetwork = Callable[..., ClassifierNetwork]
MakeSplit = Callable[..., LabeledImages]


@pytest.mark.parametrize("workers", [0, 1])
def test_profile_covers_every_stage_and_weights_are_unchanged(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, tmp_path: Path, workers: int
):
    recipe = make_recipe(augment=({"name": "horizontal_flip"},), workers=workers, epochs=2)
    plain, watched = make_network(recipe), make_network(recipe)
    fit(plain, recipe, make_split(), make_split(seed=1), run=tmp_path / "plain")
    profile = Profile()
    fit(watched, recipe, make_split(), make_split(seed=1), run=tmp_path / "watched", profile=profile)
    assert set(profile.seconds) == {DATA_WAIT, FORWARD, BACKWARD, OPTIMIZER, VALIDATION, CHECKPOINTING}
    assert all(seconds > 0 for seconds in profile.seconds.values())
    assert all(seconds > 0 for seconds in profile.workers.seconds().values())
    assert all(torch.equal(tensor, watched.state_dict()[name]) for name, tensor in plain.state_dict().items())


def test_seconds_are_summed_by_name():
    profile = Profile()
    for name, seconds in (("a", 1.0), ("b", 2.0), ("a", 1.0)):
        profile.add(name, seconds)
    assert profile.to_dict()["seconds"] == {"a": 2.0, "b": 2.0}
