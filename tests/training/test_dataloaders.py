"""DataLoaders: batches, worker processes and class weights."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch

from assay.core.errors import AssayError, UsageError
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training import LabeledImages
from assay.training.dataloaders import (
    Batch,
    EmbeddingDataset,
    ImageDataset,
    check_batch_norm,
    check_split,
    eval_dataloader,
    make_augmentation,
    make_dataloader,
    train_dataloader,
    worker_count,
)
from assay.training.loss import class_weights, loss_weights
from assay.training.sampling import BatchSampler, EpochSampler, SequentialSampler

TARGETS = np.array([0] * 30 + [1] * 7 + [2] * 3)


def noisy(pixels: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint8]:
    return pixels ^ np.random.default_rng(seed).integers(0, 255, pixels.shape, dtype=np.uint8)


class Unreadable:
    """Photos of which the third is damaged."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        if index == 2:
            raise AssayError("photos/c.jpg is a truncated JPEG; remove it")
        return np.zeros((4, 4, 3), dtype=np.uint8)


def test_class_weights_balance_the_classes():
    weights = class_weights(TARGETS, 4)
    assert weights.dtype == torch.float32
    assert weights[3] == 0
    shares = weights[torch.from_numpy(TARGETS)]
    sums = [float(shares[label == TARGETS].sum()) for label in range(3)]
    assert sums == pytest.approx([40 / 3] * 3)


def epochs(make_split: Callable[..., LabeledImages], workers: int) -> Iterator[Batch]:
    split = make_split((12, 5))
    order = EpochSampler(split.targets, 3, balanced=True)
    loader = make_dataloader(ImageDataset(split, noisy), BatchSampler(order, 4, merge_single=True), workers=workers)
    for epoch in range(2):
        order.set_epoch(epoch)
        for batch in loader:
            assert not isinstance(batch, AssayError)
            yield batch


def test_batches_do_not_depend_on_the_number_of_workers(make_split: Callable[..., LabeledImages]):
    alone, helped = list(epochs(make_split, 0)), list(epochs(make_split, 2))
    assert len(alone) == len(helped)
    for (images, targets), (helped_images, helped_targets) in zip(alone, helped, strict=True):
        assert torch.equal(images, helped_images)
        assert torch.equal(targets, helped_targets)
    assert not any(torch.equal(left[0], right[0]) for left, right in pairwise(alone[:3]))


def test_batch_is_uint8_images_and_int64_targets(make_split: Callable[..., LabeledImages]):
    images, targets = ImageDataset(make_split((3, 2))).__getitems__([(4, 0), (0, 0)])
    assert (images.dtype, images.shape) == (torch.uint8, (2, 16, 16, 3))
    assert (targets.dtype, targets.shape) == (torch.int64, (2,))


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_raises_its_own_error(workers: int):
    data = ImageDataset(LabeledImages(Unreadable(), np.zeros(8, dtype=np.int64)))
    found = list(make_dataloader(data, BatchSampler(SequentialSampler(8), 2), workers=workers))
    assert [isinstance(batch, AssayError) for batch in found] == [False, True, False, False]
    assert str(found[1]) == "photos/c.jpg is a truncated JPEG; remove it"


def test_loading_does_not_use_the_global_generator(make_split: Callable[..., LabeledImages]):
    torch.manual_seed(0)
    list(make_dataloader(ImageDataset(make_split()), BatchSampler(SequentialSampler(40), 8), workers=0))
    assert torch.initial_seed() == 0
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), drawn)


def test_embeddings_are_indexed_by_key_and_view():
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    rows, targets = EmbeddingDataset(features[None], np.array([3, 2, 1, 0])).__getitems__([(2, 9), (0, 8)])
    assert rows.tolist() == [[6, 7, 8], [0, 1, 2]]
    both = EmbeddingDataset(np.stack([features, -features]), np.array([3, 2, 1, 0]))
    assert both.__getitems__([(2, 9), (0, 8)])[0].tolist() == [[-6, -7, -8], [0, 1, 2]]
    assert len(both) == 4
    assert targets.tolist() == [1, 3]


def test_number_of_workers_from_the_recipe_or_the_amount_of_work():
    assert worker_count(3, 10, 1) == 3
    assert worker_count(None, 63, 1) == 0
    assert worker_count(None, 64, 1) >= 1
    assert worker_count(None, 64, 2**60) == 0


MakeRecipe = Callable[..., Recipe]
MakeSplit = Callable[..., LabeledImages]

FLIP = ({"name": "horizontal_flip"},)


def test_images_of_the_input_size_without_augmentation_are_unchanged(make_recipe: MakeRecipe):
    assert make_augmentation(make_recipe()) is None


def test_images_of_a_larger_input_scale_are_resized(make_recipe: MakeRecipe):
    recipe = make_recipe().model_copy(update={"augment": make_recipe().augment.model_copy(update={"input_scale": 1.5})})
    resize = make_augmentation(recipe)
    assert resize is not None
    assert resize(np.zeros((24, 24, 3), dtype=np.uint8), 0).shape == (16, 16, 3)


def test_training_images_are_augmented_differently_each_epoch(make_recipe: MakeRecipe, make_split: MakeSplit):
    recipe = make_recipe(augment=FLIP)
    split = make_split()
    loader = train_dataloader(split, make_augmentation(recipe), recipe)
    again = train_dataloader(split, make_augmentation(recipe), recipe)
    later = train_dataloader(split, make_augmentation(recipe), recipe, first_epoch=1)
    first, repeated, changed = (next(iter(each))[0] for each in (loader, again, later))
    assert first.equal(repeated)
    assert not first.equal(changed)


def test_validation_images_are_unchanged(make_recipe: MakeRecipe, make_split: MakeSplit):
    recipe, split = make_recipe(batch_size=7), make_split()
    batches = list(eval_dataloader(split, None, recipe))
    assert np.array_equal(np.concatenate([images for images, _ in batches]), np.stack(list(split.images)))
    assert np.array_equal(np.concatenate([targets for _, targets in batches]), split.targets)


def test_class_weights_have_one_value_per_class(
    make_recipe: MakeRecipe, make_network: Callable[..., ClassifierNetwork], make_split: MakeSplit
):
    weighted, plain = make_recipe(balance="weights"), make_recipe()
    split = make_split((6, 2))
    weights = loss_weights(weighted.train, split.targets, make_network(weighted, 3).head.fc.out_features)
    assert weights is not None
    assert weights.tolist() == pytest.approx([8 / 12, 2.0, 0.0])
    assert loss_weights(plain.train, split.targets, make_network(plain).head.fc.out_features) is None


@pytest.mark.parametrize(("batch_size", "photos"), [(1, 6), (8, 1)])
def test_batch_norm_in_the_head_rejects_single_images(make_recipe: MakeRecipe, batch_size: int, photos: int):
    head = {"hidden": [4], "batch_norm": True}
    with pytest.raises(UsageError, match=r"net\.head\.batch_norm needs at least two photos"):
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
