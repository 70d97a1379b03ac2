"""A head learnt from embeddings alone goes exactly the way that a whole run goes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.nets import Classifier
from assay.recipe import Recipe
from assay.training import EpochRow, Split, fit, fit_head
from assay.training.head import waited
from assay.training.module import NotFiniteError
from assay.training.probe import Embedded, eager, embed_splits

MakeRecipe = Callable[..., Recipe]
MakeNetwork = Callable[..., Classifier]
MakeSplit = Callable[..., Split]

FLIPS = ({"name": "horizontal_flip", "p": 0.5},)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine", "warmup_epochs": 1},
        {"optimizer": "sgd", "balance": "sampler", "ema": 0.9, "gradient_clip": 0.1},
        {"balance": "weights", "label_smoothing": 0.1, "early_stopping": {"patience": 2}, "epochs": 12},
        {
            "schedule": "plateau",
            "early_stopping": {"metric": "val_loss", "patience": 3},
            "lr": 0.5,
            "epochs": 9,
        },
        {"augment": FLIPS, "views": 3},
    ],
    ids="-".join,
)
def test_it_is_bit_for_bit_what_fit_finds(
    make_recipe: MakeRecipe,
    make_network: MakeNetwork,
    make_split: MakeSplit,
    tmp_path: Path,
    settings: dict[str, Any],
):
    head = {"hidden": [5], "batch_norm": True, "dropout": 0.2, "l2": 0.01}
    recipe = make_recipe(strategy="probe", head=head, **settings)
    train, val = make_split((14, 9)), make_split((9, 9), seed=1)
    network, other = make_network(recipe), make_network(recipe)
    history = fit(network, recipe, train, val, run=tmp_path)
    embedded = embed_splits(recipe, train, val, eager(other))
    found = fit_head(other, recipe, train, val, embedded)
    assert [replace(row, seconds=0) for row in history.rows] == list(found.rows)
    assert history.best_epoch == found.best_epoch
    assert found.best == found.rows[found.best_epoch - 1]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_views_are_drawn_anew_every_epoch(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit
):
    recipe = make_recipe(strategy="probe", augment=FLIPS, views=4)
    network, split = make_network(recipe), make_split((6, 6))
    embedded = embed_splits(recipe, split, split, eager(network))
    assert embedded.train.shape[:2] == (4, 12)
    assert not (embedded.train[0] == embedded.train[1]).all()
    again = embed_splits(recipe, split, split, eager(network))
    assert (embedded.train == again.train).all()


def test_a_loss_without_bounds_is_said(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit
):
    recipe = make_recipe(strategy="probe", lr=1e30, optimizer="sgd", head={"l2": 1.0})
    network, split = make_network(recipe), make_split((6, 6))
    embedded = embed_splits(recipe, split, split, eager(network))
    with pytest.raises(NotFiniteError, match=r"lower train\.lr"):
        fit_head(network, recipe, split, split, Embedded(embedded.train, embedded.val))


@pytest.mark.parametrize(
    ("losses", "stops"), [([3, 2, 1], False), ([1, 1, 1], True), ([1, 2, 0.5, 0.6], False)]
)
def test_early_stopping_counts_epochs_without_improvement(
    make_recipe: MakeRecipe, losses: list[float], *, stops: bool
):
    recipe = make_recipe(early_stopping={"metric": "val_loss", "patience": 2})
    rows = tuple(EpochRow(epoch, 0, 0, loss, 0, 0, 0) for epoch, loss in enumerate(losses, start=1))
    assert waited(rows, recipe.train) == stops
    assert not waited(rows, make_recipe(early_stopping=None).train)
