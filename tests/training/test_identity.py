from collections.abc import Callable

import numpy as np

from assay.recipe import Recipe
from assay.training import LabeledImages
from assay.training.checkpoint import run_fingerprint

MakeRecipe = Callable[..., Recipe]
MakeSplit = Callable[..., LabeledImages]


def test_settings_that_change_weights_are_named(make_recipe: MakeRecipe, make_split: MakeSplit):
    one = run_fingerprint(make_recipe(lr=0.1), make_split(), make_split())
    two = run_fingerprint(make_recipe(lr=0.2), make_split(), make_split())
    assert {name for name in one if one[name] != two[name]} == {"train.lr"}


def test_where_and_how_fast_a_run_computes_is_no_part_of_it(make_recipe: MakeRecipe, make_split: MakeSplit):
    one = run_fingerprint(make_recipe(workers=0, device="cpu"), make_split(), make_split())
    two = run_fingerprint(make_recipe(workers=3, device="auto", tensorboard=True), make_split(), make_split())
    assert one == two


def test_other_labels_are_another_run(make_recipe: MakeRecipe, make_split: MakeSplit):
    split = make_split()
    flipped = LabeledImages(split.images, 1 - split.targets)
    one, two = (run_fingerprint(make_recipe(), each, split) for each in (split, flipped))
    assert {name for name in one if one[name] != two[name]} == {"the order or labels of the training photos"}


def test_the_width_of_the_integers_does_not_matter(make_recipe: MakeRecipe, make_split: MakeSplit):
    split = make_split()
    narrow = LabeledImages(split.images, split.targets.astype(np.int32))
    assert run_fingerprint(make_recipe(), split, split) == run_fingerprint(make_recipe(), narrow, split)
