"""ResNets: published definition and weights."""

import hashlib
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from assay.nets import ResNet, create_classifier
from assay.nets.pretrained import load_tensors
from assay.nets.resnet import BasicBlock, Bottleneck, PreActBottleneck
from assay.recipe import NetSpec, ResNetSpec


def as_torchvision(name: str) -> str:
    return name.removeprefix("backbone.").removeprefix("head.")


def as_timm(name: str) -> str:
    name = re.sub(r"^layer(\d)\.", lambda match: f"stages.{int(match[1]) - 1}.blocks.", as_torchvision(name))
    name = re.sub(r"^norm\.0\.", "norm.", re.sub(r"\.bn(\d)\.", r".norm\1.", name))
    name = name.replace(".downsample.0.", ".downsample.conv.")
    return re.sub(r"^fc\.", "head.fc.", re.sub(r"^conv1\.", "stem.conv.", name))


def published_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes that our network would have at its publisher's."""
    rename = as_timm if name == "resnet50v2" else as_torchvision
    with torch.device("meta"):  # shapes alone, no numbers
        state = create_classifier(name, 1000).state_dict()
    shapes = {rename(key): tuple(tensor.shape) for key, tensor in state.items() if key not in {"mean", "std"}}
    if name == "resnet50v2":
        shapes["head.fc.weight"] += (1, 1)
    return shapes


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50v2"])
def test_names_and_shapes_equal_the_published_ones(name: str, references: dict[str, Any]):
    shapes = published_shapes(name)
    lines = sorted(f"{key} {list(shape)}" for key, shape in shapes.items())
    assert len(lines) == references["layouts"][name]["tensors"]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert digest == references["layouts"][name]["sha256"]


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet50v2"])
def test_logits_equal_the_published_ones(
    name: str, references: dict[str, Any], seeded_weights: Any, seeded_images: Any
):
    network = create_classifier(name, 1000)
    load_tensors(network, seeded_weights(published_shapes(name)), "seeded")
    images = seeded_images(2, references[name]["size"])
    with torch.no_grad():
        logits = network.eval()(images).logits[:, :20].numpy()
    expected = np.array(references[name]["logits"])
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("spec", "side", "channels"),
    [
        (ResNetSpec(layers=(1, 1), widths=(64, 128)), 8, 128),  # the custom ResNet at 64 x 64
        (ResNetSpec(layers=(1, 1), widths=(8, 16), stem="conv3"), 32, 16),
        (ResNetSpec(block="bottleneck", layers=(1, 2, 1), widths=(4, 6, 10)), 4, 40),
        (ResNetSpec(block="preact", layers=(2,), widths=(5,)), 16, 20),
    ],
)
def test_networks_of_any_depth_and_width(spec: ResNetSpec, side: int, channels: int):
    network = create_classifier(NetSpec(name="resnet", resnet=spec), 10, size=64)
    outputs = network(torch.zeros(2, 64, 64, 3, dtype=torch.uint8))
    assert outputs.featuremap.shape == (2, channels, side, side)
    assert outputs.logits.shape == (2, 10)
    assert network.depth == 1 + len(spec.layers)


def test_zero_initialized_branch_passes_the_shortcut():
    block = ResNet(ResNetSpec(layers=(2,), widths=(4,))).get_submodule("layer1")[1]
    images = torch.rand(2, 4, 6, 6)
    torch.testing.assert_close(block(images), images)
    other = ResNet(ResNetSpec(layers=(2,), widths=(4,)), zero_init_residual=False).get_submodule("layer1")[1]
    assert not torch.allclose(other(images), images)


@pytest.mark.parametrize(
    ("block", "strided"), [(BasicBlock, "conv1"), (Bottleneck, "conv2"), (PreActBottleneck, "conv2")]
)
def test_stride_is_in_the_3x3_convolution(block: Any, strided: str):
    module = block(8, 4, 2)
    strides = {name: child.stride for name, child in module.named_modules() if isinstance(child, nn.Conv2d)}
    assert [name for name, stride in strides.items() if stride == (2, 2)] == [strided, "downsample.0"]
    assert module.get_submodule(strided).kernel_size == (3, 3)


def test_preactivation_shortcut_is_an_identity():
    block = PreActBottleneck(8, 2, 1).eval()
    nn.init.zeros_(block.conv3.weight)
    images = torch.randn(2, 8, 5, 5)  # negative values too: a ReLU would show
    torch.testing.assert_close(block(images), images)


def test_convolutions_use_he_initialization():
    torch.manual_seed(0)
    weight = create_classifier("resnet18", 2).backbone.get_submodule("layer4.1.conv2").weight
    assert weight.std().item() == pytest.approx(np.sqrt(2 / (9 * 512)), rel=0.01)
    assert weight.mean().item() == pytest.approx(0, abs=1e-4)
