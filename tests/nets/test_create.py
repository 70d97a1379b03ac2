import pytest
import torch

from assay.core.errors import UsageError
from assay.nets import create_classifier, default_normalization
from assay.recipe import NETWORKS, ConvNetSpec, NetSpec, load_recipe, recipe_names


@pytest.mark.parametrize("name", NETWORKS)
def test_every_name_makes_a_network(name: str):
    network = create_classifier(name, 5).eval()
    with torch.no_grad():
        outputs = network(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    assert outputs.logits.shape == (1, 5)
    assert outputs.featuremap.shape[1] == outputs.embedding.shape[1] == network.backbone.channels
    assert torch.isfinite(outputs.logits).all()


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_makes_a_network(name: str):
    recipe = load_recipe(name)
    network = create_classifier(recipe.net, 2, mean=recipe.preprocess.mean, size=recipe.preprocess.size)
    assert network.head.fc.out_features == 2


def test_the_seed_decides_the_weights():
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([parameter.flatten() for parameter in create_classifier("convnet", 2).parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_what_each_network_wants_of_pixels():
    assert default_normalization("resnet50") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert default_normalization("resnet50v2") == ((0.5,) * 3, (0.5,) * 3)
    assert default_normalization("efficientnet-lite2") == ((127 / 255,) * 3, (128 / 255,) * 3)
    assert default_normalization("convnet") == ((0.5,) * 3, (0.5,) * 3)


def test_mean_and_std_of_the_recipe_come_first():
    network = create_classifier("convnet", 2, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    torch.testing.assert_close(network.mean, torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(network.std, torch.tensor([0.4, 0.5, 0.6]))


def test_one_class_is_none():
    with pytest.raises(UsageError, match="needs two classes, not 1"):
        create_classifier("convnet", 1)


def test_an_image_that_pooling_would_use_up():
    spec = NetSpec(name="convnet", convnet=ConvNetSpec(filters=(4, 4, 4, 4)))
    with pytest.raises(UsageError, match=r"preprocess.size is 8, .* needs 16 or more"):
        create_classifier(spec, 2, size=8)
    assert create_classifier(spec, 2, size=16)(torch.zeros(2, 16, 16, 3, dtype=torch.uint8)).logits.shape == (2, 2)
