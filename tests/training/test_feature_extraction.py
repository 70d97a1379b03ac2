"""Embeddings of a network, and training a head on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from assay.core.errors import AssayError
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training import LabeledImages, SplitEmbeddings, compute_embeddings, fit
from assay.training.feature_extraction import eager_embedder, embed_splits

MakeRecipe = Callable[..., Recipe]
MakeNetwork = Callable[[Recipe], ClassifierNetwork]
MakeSplit = Callable[..., LabeledImages]

NEVER = ({"name": "horizontal_flip", "p": 0},)
"""An augmentation that changes nothing, so that photos are forwarded every epoch."""


def test_features_equal_the_embeddings_of_the_network(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit
):
    network, split = make_network(make_recipe()), make_split((5, 6))
    result: list[tuple[str, int, int]] = []
    found = compute_embeddings(network, split.images, 4, progress=lambda *step: result.append(step))
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(np.stack(list(split.images)))).embedding.numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert result == [("computing embeddings", done, 3) for done in (1, 2, 3)]


def test_engine_can_compute_embeddings(make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit):
    split = make_split((5, 6))

    def embed(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return images.mean(axis=(1, 2), dtype=np.float32)

    found = compute_embeddings(make_network(make_recipe()), split.images, 4, embed=embed)
    np.testing.assert_allclose(found, np.stack(list(split.images)).mean(axis=(1, 2)), rtol=1e-5)


def test_unreadable_image_raises(make_recipe: MakeRecipe, make_network: MakeNetwork):
    class Damaged:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
            raise AssayError(f"photo {index} is truncated")

    with pytest.raises(AssayError, match="photo 0 is truncated"):
        compute_embeddings(make_network(make_recipe()), Damaged())


@pytest.mark.parametrize("settings", [{"optimizer": "adam", "epochs": 4}, {"ema_decay": 0.5, "balance": "sampler"}])
def test_training_on_embeddings_equals_training_on_images(
    make_recipe: MakeRecipe,
    make_network: MakeNetwork,
    make_split: MakeSplit,
    tmp_path: Path,
    settings: dict[str, Any],
):
    heads, rows = [], []
    for augment in ((), NEVER):
        head = {"hidden": [5], "batch_norm": True}
        recipe = make_recipe(strategy="probe", augment=augment, head=head, precision="32", **settings)
        network = make_network(recipe)
        backbone = {name: tensor.clone() for name, tensor in network.backbone.state_dict().items()}
        history = fit(network, recipe, make_split(), make_split(seed=1), run=tmp_path / str(len(augment)))
        after = network.backbone.state_dict()
        assert all(torch.equal(tensor, after[name]) for name, tensor in backbone.items())
        heads.append(network.head.state_dict())
        rows.append([(row.train_loss, row.val_loss, row.val_accuracy) for row in history.metrics])
    for name, tensor in heads[0].items():
        torch.testing.assert_close(tensor, heads[1][name], atol=1e-4, rtol=1e-3)
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-4)


def test_embeddings_are_computed_once_and_not_for_a_finished_run(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, tmp_path: Path
):
    recipe = make_recipe(strategy="probe", epochs=5)
    network, train, val = make_network(recipe), make_split((10, 10)), make_split((4, 4))
    requested: list[SplitEmbeddings] = []

    def embedded() -> SplitEmbeddings:
        requested.append(embed_splits(recipe, train, val, eager_embedder(network)))
        return requested[-1]

    first = fit(network, recipe, train, val, run=tmp_path, embeddings=embedded)
    again = fit(make_network(recipe), recipe, train, val, run=tmp_path, resume=True, embeddings=embedded)
    assert len(requested) == 1
    assert first.metrics == again.metrics


def test_checkpoints_of_a_head_contain_only_the_head(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, tmp_path: Path
):
    recipe = make_recipe(strategy="probe", epochs=1)
    fit(make_network(recipe), recipe, make_split(), make_split(), run=tmp_path)
    weights = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)["weights"]
    assert set(weights) == {"fc.weight", "fc.bias"}
