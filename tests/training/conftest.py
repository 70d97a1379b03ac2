"""A network of a few hundred weights and images that it can learn in a second."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from assay.nets import ClassifierNetwork, create_classifier
from assay.recipe import Recipe
from assay.training import LabeledImages

SIZE = 16

MakeRecipe = Callable[..., Recipe]
MakeSplit = Callable[..., LabeledImages]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Several threads only wait for each other over a network this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_recipe() -> MakeRecipe:
    """A recipe of the tiny network; keywords are settings of `train`, except `augment` and `head`."""

    def make(*, augment: tuple[dict[str, Any], ...] = (), head: dict[str, Any] | None = None, **train: Any) -> Recipe:
        settings = {
            "strategy": "finetune",
            "epochs": 3,
            "batch_size": 8,
            "lr": 0.01,
            "workers": 0,
            "early_stopping": None,
            "device": "cpu",
        }
        return Recipe.model_validate(
            {
                "preprocess": {"size": SIZE},
                "augment": {"train": augment},
                "net": {
                    "name": "convnet",
                    "weights": "none",
                    "convnet": {"filters": [4, 6], "dropout": 0.1},
                    "head": head or {"dropout": 0.2},
                },
                "train": settings | train,
            }
        )

    return make


@pytest.fixture
def make_network() -> Callable[[Recipe], ClassifierNetwork]:
    """The network of a recipe, with the same weights at every call."""

    def make(recipe: Recipe, classes: int = 2) -> ClassifierNetwork:
        torch.manual_seed(recipe.train.seed)
        return create_classifier(recipe.net, classes, size=recipe.preprocess.size)

    return make


@pytest.fixture
def make_split() -> MakeSplit:
    """Noise, brighter by class: `counts` photos of every class, shuffled."""

    def make(counts: tuple[int, ...] = (20, 20), seed: int = 0) -> LabeledImages:
        random = np.random.default_rng(seed)
        targets = random.permutation(np.repeat(np.arange(len(counts)), counts))
        shift = 60 * targets[:, None, None, None]
        pixels = random.integers(0, 120, (len(targets), SIZE, SIZE, 3)) + shift
        return LabeledImages(list(pixels.astype(np.uint8)), targets)

    return make
