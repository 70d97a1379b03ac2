"""Backbones of timm."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from assay.core.errors import AssayError
from assay.nets import create_classifier, default_normalization, load_pretrained
from assay.recipe import NetSpec

absent = find_spec("timm") is None
needs_timm = pytest.mark.skipif(absent, reason='timm is not installed; pip install "assay[timm]"')


@pytest.mark.skipif(not absent, reason="timm is installed")
@pytest.mark.parametrize("ask", [lambda name: create_classifier(name, 2), default_normalization])
def test_missing_timm_raises(ask: Any):
    expected = r"network 'timm:convnext_tiny' needs the timm library.*pip install \"assay\[timm\]\""
    with pytest.raises(AssayError, match=expected):
        ask("timm:convnext_tiny")


@needs_timm
@pytest.mark.parametrize(
    ("name", "channels", "side"),
    [
        ("convnext_atto", 320, 2),
        ("resnet10t", 512, 2),
        ("vit_tiny_patch16_224", 192, 4),
        ("swin_tiny_patch4_window7_224", 768, 2),
    ],
)
def test_every_family_returns_a_feature_map(name: str, channels: int, side: int):
    network = create_classifier(f"timm:{name}", 3, size=64).eval()
    outputs = network(torch.zeros(2, 64, 64, 3, dtype=torch.uint8))
    assert outputs.featuremap.shape == (2, channels, side, side)
    assert outputs.logits.shape == (2, 3)


@needs_timm
def test_stages_contain_every_parameter_once():
    network = create_classifier("timm:vit_tiny_patch16_224", 3, size=64)
    found = [id(parameter) for stage in network.parameter_stages() for parameter in stage]
    assert sorted(found) == sorted(id(parameter) for parameter in network.parameters())
    assert network.depth > 12


@needs_timm
@pytest.mark.parametrize("name", ["convnext_atto", "resnetv2_18", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("names", ["timm", "assay"])
def test_weights_are_loaded_from_a_file(name: str, names: str, tmp_path: Path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    source = timm.create_model(name)
    target = create_classifier(f"timm:{name}", 3)
    own = {f"backbone.net.{key}": tensor for key, tensor in source.state_dict().items()}
    own = {key: tensor for key, tensor in own.items() if key in target.state_dict()}
    save_file(source.state_dict() if names == "timm" else own, tmp_path / "w.safetensors")
    load_pretrained(target, NetSpec(name=f"timm:{name}", weights=str(tmp_path / "w.safetensors")))
    assert all(torch.equal(tensor, target.state_dict()[key]) for key, tensor in own.items())
    assert len(own) == sum(key.startswith("backbone.") for key in target.state_dict())


@needs_timm
def test_unknown_network_raises():
    with pytest.raises(AssayError, match=r"timm .* knows no network called 'convnext_tony'"):
        create_classifier("timm:convnext_tony", 2)


@needs_timm
def test_normalization_of_the_network():
    assert default_normalization("timm:resnetv2_50") == ((0.5,) * 3, (0.5,) * 3)
