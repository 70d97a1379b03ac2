from collections.abc import Callable

import numpy as np
import pytest

from assay.core.errors import AssayError, UsageError
from assay.nets import Classifier
from assay.recipe import Recipe
from assay.training import LabeledImages
from assay.training.dataloaders import (
    check_batch_norm,
    check_split,
    eval_dataloader,
    make_augmentation,
    train_dataloader,
)
from assay.training.loss import loss_weights

MakeRecipe = Callable[..., Recipe]
MakeSplit = Callable[..., LabeledImages]

FLIP = ({"name": "horizontal_flip"},)


def test_photos_of_the_right_size_without_changes_are_used_as_they_are(make_recipe: MakeRecipe):
    assert make_augmentation(make_recipe()) is None


def test_photos_of_a_larger_canvas_are_brought_to_size(make_recipe: MakeRecipe):
    recipe = make_recipe().model_copy(update={"augment": make_recipe().augment.model_copy(update={"input_scale": 1.5})})
    resize = make_augmentation(recipe)
    assert resize is not None
    assert resize(np.zeros((24, 24, 3), dtype=np.uint8), 0).shape == (16, 16, 3)


def test_training_photos_are_changed_anew_each_epoch(make_recipe: MakeRecipe, make_split: MakeSplit):
    recipe = make_recipe(augment=FLIP)
    split = make_split()
    loader = train_dataloader(split, make_augmentation(recipe), recipe)
    again = train_dataloader(split, make_augmentation(recipe), recipe)
    later = train_dataloader(split, make_augmentation(recipe), recipe, first_epoch=1)
    first, repeated, changed = (next(iter(each))[0] for each in (loader, again, later))
    assert first.equal(repeated)
    assert not first.equal(changed)


def test_validation_photos_come_as_they_stand(make_recipe: MakeRecipe, make_split: MakeSplit):
    recipe, split = make_recipe(batch_size=7), make_split()
    batches = list(eval_dataloader(split, None, recipe))
    assert np.array_equal(np.concatenate([images for images, _ in batches]), np.stack(list(split.images)))
    assert np.array_equal(np.concatenate([targets for _, targets in batches]), split.targets)


def test_class_weights_have_the_heads_length(
    make_recipe: MakeRecipe, make_network: Callable[..., Classifier], make_split: MakeSplit
):
    weighted, plain = make_recipe(balance="weights"), make_recipe()
    split = make_split((6, 2))
    weights = loss_weights(weighted.train, split.targets, make_network(weighted, 3).head.fc.out_features)
    assert weights is not None
    assert weights.tolist() == pytest.approx([8 / 12, 2.0, 0.0])
    assert loss_weights(plain.train, split.targets, make_network(plain).head.fc.out_features) is None


@pytest.mark.parametrize(("batch_size", "photos"), [(1, 6), (8, 1)])
def test_batch_norm_in_the_head_refuses_single_photos(make_recipe: MakeRecipe, batch_size: int, photos: int):
    head = {"hidden": [4], "batch_norm": True}
    with pytest.raises(UsageError, match=r"net\.head\.batch_norm needs two photos"):
        check_batch_norm(make_recipe(batch_size=batch_size, head=head), photos)
    check_batch_norm(make_recipe(batch_size=batch_size), photos)
    check_batch_norm(make_recipe(batch_size=2, head=head), 3)


def test_splits_are_checked(make_split: MakeSplit):
    split = make_split((3, 3))
    check_split("training", split, 2)
    with pytest.raises(AssayError, match="there are no training photos"):
        check_split("training", LabeledImages([], np.empty(0, dtype=np.int64)), 2)
    with pytest.raises(ValueError, match="6 training photos have 5 targets"):
        check_split("training", LabeledImages(split.images, split.targets[:5]), 2)
    with pytest.raises(ValueError, match="must lie within 0-0"):
        check_split("training", split, 1)
