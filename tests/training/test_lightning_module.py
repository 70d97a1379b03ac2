"""The LightningModule: loss, frozen layers, seeds and errors."""

import math
from collections.abc import Callable

import pytest
import torch

from assay.core.errors import AssayError
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training.lightning_module import ClassifierModule
from assay.training.training_schedule import TrainingSchedule

MakeRecipe = Callable[..., Recipe]
MakeNetwork = Callable[[Recipe], ClassifierNetwork]

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.25, 0.0], [0.0, 3.0, 0.0]])
TARGETS = torch.tensor([0, 2, 1])


def learner(make_recipe: MakeRecipe, make_network: MakeNetwork, **settings: object) -> ClassifierModule:
    recipe = make_recipe(**settings)
    return ClassifierModule(make_network(recipe), TrainingSchedule(recipe.train, 5))


def test_l2_penalty_of_the_head_is_part_of_the_loss(make_recipe: MakeRecipe, make_network: MakeNetwork):
    images = torch.zeros(4, 16, 16, 3, dtype=torch.uint8)
    batch = images, torch.tensor([0, 1, 0, 1])
    found = {}
    for l2 in (0.0, 0.1):
        subject = learner(make_recipe, make_network, head={"l2": l2})
        subject.network.eval()
        found[l2] = float(subject.training_step(batch, 1).detach())
    weights = learner(make_recipe, make_network).network.head.fc.weight
    assert found[0.1] - found[0.0] == pytest.approx(0.1 * float(weights.detach().square().sum()), rel=1e-4)


@pytest.mark.parametrize("strategy", ["probe", "staged", "finetune"])
def test_first_epoch_unfreezes_the_layers_of_its_strategy(
    make_recipe: MakeRecipe, make_network: MakeNetwork, strategy: str
):
    subject = learner(make_recipe, make_network, strategy=strategy)
    subject.on_train_epoch_start()
    frees_all = strategy == "finetune"
    assert all(parameter.requires_grad == frees_all for parameter in subject.network.backbone.parameters())
    assert all(parameter.requires_grad for parameter in subject.network.head.parameters())
    assert all(
        module.training == frees_all for module in subject.network.backbone.modules() if not list(module.children())
    )


def test_each_epoch_seeds_torch(make_recipe: MakeRecipe, make_network: MakeNetwork):
    subject = learner(make_recipe, make_network)
    subject.on_train_epoch_start()
    first = torch.rand(3)
    subject.on_train_epoch_start()
    assert torch.equal(torch.rand(3), first)


def test_unreadable_image_stops_training(make_recipe: MakeRecipe, make_network: MakeNetwork):
    with pytest.raises(AssayError, match=r"^a\.jpg is truncated$"):
        learner(make_recipe, make_network).on_before_batch_transfer(AssayError("a.jpg is truncated"), 0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nonfinite_loss_error_names_the_learning_rate(make_recipe: MakeRecipe, make_network: MakeNetwork, value: float):
    subject = learner(make_recipe, make_network, lr=0.25)
    subject.train_metrics.add(torch.tensor(value), LOGITS, TARGETS)
    with pytest.raises(AssayError, match=r"epoch 1: lower train\.lr, which is 0\.25"):
        subject.on_validation_epoch_start()


def test_on_embeddings_only_the_head_runs_and_is_saved(make_recipe: MakeRecipe, make_network: MakeNetwork):
    recipe = make_recipe(strategy="probe")
    network = make_network(recipe).eval()
    subject = ClassifierModule(network, TrainingSchedule(recipe.train, 5), on_embeddings=True)
    embedding = torch.randn(3, network.backbone.channels)
    assert torch.equal(subject(embedding), network.head(embedding))
    assert subject.trained_module is network.head
