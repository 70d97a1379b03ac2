from collections.abc import Callable

import numpy as np

from assay.recipe import Recipe
from assay.training import Split
from assay.training.identity import identity

MakeRecipe = Callable[..., Recipe]
MakeSplit = Callable[..., Split]


def test_settings_that_change_weights_are_named(make_recipe: MakeRecipe, make_split: MakeSplit):
    one = identity(make_recipe(lr=0.1), make_split(), make_split())
    two = identity(make_recipe(lr=0.2), make_split(), make_split())
    assert {name for name in one if one[name] != two[name]} == {"train.lr"}


def test_where_and_how_fast_a_run_computes_is_no_part_of_it(make_recipe: MakeRecipe, make_split: MakeSplit):
    one = identity(make_recipe(workers=0, device="cpu"), make_split(), make_split())
    two = identity(make_recipe(workers=3, device="auto", tensorboard=True), make_split(), make_split())
    assert one == two


def test_other_labels_are_another_run(make_recipe: MakeRecipe, make_split: MakeSplit):
    split = make_split()
    flipped = Split(split.pixels, 1 - split.targets)
    one, two = (identity(make_recipe(), each, split) for each in (split, flipped))
    assert {name for name in one if one[name] != two[name]} == {"the order or labels of the training photos"}


def test_the_width_of_the_integers_does_not_matter(make_recipe: MakeRecipe, make_split: MakeSplit):
    split = make_split()
    narrow = Split(split.pixels, split.targets.astype(np.int32))
    assert identity(make_recipe(), split, split) == identity(make_recipe(), narrow, split)
