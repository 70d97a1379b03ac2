"""Training many heads in one stack gives the results of separate runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.nets import ClassifierNetwork, Head
from assay.recipe import HeadSpec, Recipe
from assay.training import EpochMetrics, LabeledImages, TrainedHead, fit, fit_heads
from assay.training.feature_extraction import SplitEmbeddings, eager_embedder, embed_splits
from assay.training.head_sweep import stack_key, stack_size
from assay.training.loss import NonFiniteLossError
from assay.training.training_schedule import TrainingSchedule

MakeRecipe = Callable[..., Recipe]
MakeNetwork = Callable[..., ClassifierNetwork]
MakeSplit = Callable[..., LabeledImages]

FLIPS = ({"name": "horizontal_flip", "p": 0.5},)
DEEP = {"hidden": [5], "batch_norm": True, "dropout": 0.2}
STOPPING = {"metric": "val_loss", "patience": 3}


@pytest.mark.parametrize(
    ("alike", "own"),
    [
        (
            {"optimizer": "adamw", "head": DEEP},
            [
                {"weight_decay": 0.1, "schedule": "cosine", "warmup_epochs": 1, "head": {"l2": 0.3}},
                {"lr": 0.1, "schedule": "onecycle", "head": {"l2": 0.01}},
            ],
        ),
        (
            {"optimizer": "sgd", "balance": "sampler", "ema_decay": 0.9, "head": DEEP},
            [{"gradient_clip": 0.1, "weight_decay": 0.1}, {"gradient_clip": 10.0}, {"lr": 0.1}],
        ),
        (
            {
                "balance": "weights",
                "label_smoothing": 0.1,
                "epochs": 12,
                "optimizer": "adam",
                "head": {"dropout": 0.3},
            },
            [
                {"early_stopping": {"patience": 2}, "weight_decay": 0.3},
                {"lr": 0.5, "schedule": "plateau", "early_stopping": STOPPING},
                {"head": {"l2": 0.1}},
            ],
        ),
        ({"augment": FLIPS, "augmentation_views": 3}, [{}, {"lr": 0.001}]),
        ({"head": {"hidden": [6, 4], "dropout": 0.5}}, [{"lr": 0.05}, {}]),
    ],
    ids=["adamw", "sgd", "adam", "views", "deep"],
)
def test_each_head_equals_a_separate_fit(
    make_recipe: MakeRecipe,
    make_network: MakeNetwork,
    make_split: MakeSplit,
    tmp_path: Path,
    *,
    alike: dict[str, Any],
    own: list[dict[str, Any]],
):
    recipes = [
        make_recipe(**{"strategy": "probe"} | alike | item | {"head": alike.get("head", {}) | item.get("head", {})})
        for item in own
    ]
    train, val = make_split((14, 9)), make_split((9, 9), seed=1)
    start = make_network(recipes[0])
    embedded = embed_splits(recipes[0], train, val, eager_embedder(start))
    before = {name: tensor.clone() for name, tensor in start.head.state_dict().items()}
    for place, found in enumerate(fit_heads(start.head, recipes, train, val, embedded)):
        assert isinstance(found, TrainedHead)
        network = make_network(recipes[place])
        history = fit(network, recipes[place], train, val, run=tmp_path / str(place))
        assert len(found.metrics) == len(history.metrics)
        for row, expected in zip(found.metrics, history.metrics, strict=True):
            assert figures(row) == pytest.approx(figures(expected), rel=1e-4)
            assert (row.epoch, row.lr) == (expected.epoch, pytest.approx(expected.lr, rel=1e-12))
        assert found.best_epoch == history.best_epoch
        assert found.best == found.metrics[found.best_epoch - 1]
        # It is the state of a head, and of the best epoch.
        start.head.load_state_dict(found.weights)
        for name, tensor in network.head.state_dict().items():
            torch.testing.assert_close(found.weights[name], tensor, rtol=1e-3, atol=1e-5)
        start.head.load_state_dict(before)


def figures(row: EpochMetrics) -> list[float]:
    return [row.train_loss, row.train_accuracy, row.val_loss, row.val_accuracy]


def test_stack_size_hardly_changes_the_results(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit
):
    recipes = [make_recipe(strategy="probe", lr=10.0**-power, head={"dropout": 0.3}) for power in range(1, 5)]
    network, split = make_network(recipes[0]), make_split((6, 6))
    embedded = embed_splits(recipes[0], split, split, eager_embedder(network))
    together = fit_heads(network.head, recipes, split, split, embedded)
    for recipe, found in zip(recipes, together, strict=True):
        (alone,) = fit_heads(network.head, [recipe], split, split, embedded)
        assert isinstance(found, TrainedHead)
        assert isinstance(alone, TrainedHead)
        assert figures(found.best) == pytest.approx(figures(alone.best), rel=1e-5)
    losses = [found.best.val_loss for found in together if isinstance(found, TrainedHead)]
    assert len(set(losses)) == len(recipes)


@pytest.mark.parametrize(
    "other",
    [
        {"batch_size": 4},
        {"optimizer": "sgd"},
        {"seed": 1},
        {"epochs": 4},
        {"augmentation_views": 2},
        {"momentum": 0.5},
        {"ema_decay": 0.9},
        {"balance": "weights"},
        {"label_smoothing": 0.1},
        {"head": {"dropout": 0.1}},
        {"head": {"hidden": [3]}},
        {"head": {"batch_norm": True}},
    ],
    ids=str,
)
def test_heads_of_different_shape_or_order_cannot_be_stacked(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, other: dict[str, Any]
):
    recipes = [make_recipe(strategy="probe", head={}), make_recipe(strategy="probe", **{"head": {}} | other)]
    assert stack_key(recipes[0]) != stack_key(recipes[1])
    split, nothing = make_split((6, 6)), torch.zeros(12, 6).numpy()
    with pytest.raises(ValueError, match="may differ in"):
        fit_heads(make_network(recipes[0]).head, recipes, split, split, SplitEmbeddings(nothing[None], nothing))


def test_views_are_drawn_each_epoch(make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit):
    recipe = make_recipe(strategy="probe", augment=FLIPS, augmentation_views=4)
    network, split = make_network(recipe), make_split((6, 6))
    embedded = embed_splits(recipe, split, split, eager_embedder(network))
    assert embedded.train.shape[:2] == (4, 12)
    assert not (embedded.train[0] == embedded.train[1]).all()
    again = embed_splits(recipe, split, split, eager_embedder(network))
    assert (embedded.train == again.train).all()


def test_larger_heads_have_smaller_stacks():
    sizes = [stack_size(Head(HeadSpec(hidden=hidden), 512, 10)) for hidden in ((), (64,), (512,), (4096,))]
    assert sizes[0] == 32
    assert sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] > 1


def test_no_recipes_give_no_heads(make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit):
    network, split = make_network(make_recipe()), make_split((6, 6))
    nothing = torch.zeros(12, 6).numpy()
    assert fit_heads(network.head, [], split, split, SplitEmbeddings(nothing[None], nothing)) == []


def test_diverged_head_is_reported_and_the_others_continue(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit
):
    fine = make_recipe(strategy="probe", optimizer="sgd", head={"l2": 1.0})
    wild = make_recipe(strategy="probe", optimizer="sgd", head={"l2": 1.0}, lr=1e30)
    network, split = make_network(fine), make_split((6, 6))
    embedded = embed_splits(fine, split, split, eager_embedder(network))
    first, error, last = fit_heads(network.head, [fine, wild, fine], split, split, embedded)
    assert isinstance(error, NonFiniteLossError)
    assert "lower train.lr, which is 1e+30" in str(error)
    assert isinstance(first, TrainedHead)
    assert isinstance(last, TrainedHead)
    assert len(first.metrics) == 3
    assert first.metrics == last.metrics


@pytest.mark.parametrize(("losses", "stops"), [([3, 2, 1], False), ([1, 1, 1], True), ([1, 2, 0.5, 0.6], False)])
def test_early_stopping_counts_epochs_without_improvement(make_recipe: MakeRecipe, losses: list[float], *, stops: bool):
    recipe = make_recipe(early_stopping={"metric": "val_loss", "patience": 2})
    rows = tuple(EpochMetrics(epoch, 0, 0, loss, 0, 0, 0) for epoch, loss in enumerate(losses, start=1))
    assert TrainingSchedule(recipe.train, 1, rows).stops_early == stops
    assert not TrainingSchedule(make_recipe(early_stopping=None).train, 1, rows).stops_early
