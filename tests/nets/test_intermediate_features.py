"""Standard deviations of intermediate feature maps as further channels of the last one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assay.bundle.onnx_export import export_onnx, frozen_copy
from assay.bundle.quantization import Quantizer
from assay.inference import ENGINES, create_engine
from assay.inference.cam import class_activation_map
from assay.nets import create_classifier, uses_intermediate_features
from assay.nets.intermediate_features import AppendDeviations
from assay.recipe import NetSpec, ResNetSpec

APPEND = AppendDeviations()
DEEP = ResNetSpec(layers=(1, 1, 1, 1), widths=(4, 6, 8, 10), stem="conv3")


def maps(*shapes: tuple[int, int, int], seed: int = 0, count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, *shape, generator=generator) for shape in shapes]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.floats(0.1, 50), st.integers(0, 99))
def test_the_mean_of_an_appended_channel_is_a_standard_deviation(
    rows: int, columns: int, factor: int, scale: float, seed: int
):
    intermediate, last = maps((4, 2 * factor * rows, 3 * factor * columns), (5, 2 * rows, 3 * columns), seed=seed)
    joined = APPEND([scale * intermediate + 7, last])
    assert joined.shape == (2, 9, 2 * rows, 3 * columns)
    assert torch.equal(joined[:, :5], last)
    deviations = (scale * intermediate).std(dim=(2, 3), correction=0)
    assert torch.allclose(joined[:, 5:].mean(dim=(2, 3)), deviations, rtol=1e-3, atol=1e-5)


def test_cells_that_differ_from_the_mean_contribute():
    intermediate, last = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4)
    intermediate[0, 0, 6:, 2:4] = 5.0
    cells = APPEND([intermediate, last])[0, 1]
    assert cells.argmax() == 3 * 4 + 1
    assert cells[3, 1] > 10 * cells[0, 0]


def test_a_constant_channel_adds_nothing_and_has_finite_gradients():
    intermediate = torch.full((1, 2, 4, 4), 3.0, requires_grad=True)
    joined = APPEND([intermediate, torch.ones(1, 1, 2, 2)])
    joined.sum().backward()
    assert joined[:, 1:].abs().max() == 0
    assert intermediate.grad is not None
    assert torch.isfinite(intermediate.grad).all()


def test_sides_that_are_no_multiples_are_rounded_up():
    intermediate, last = maps((2, 13, 15), (3, 4, 4))
    joined = APPEND([intermediate, last])
    assert joined.shape == (2, 5, 4, 4)
    assert torch.allclose(joined[:, 3:].mean(dim=(2, 3)), intermediate.std(dim=(2, 3), correction=0), rtol=0.2)


def test_half_precision_maps_are_summed_in_single_precision():
    intermediate, last = maps((3, 64, 64), (2, 8, 8))
    exact = APPEND([intermediate + 30, last])
    rounded = APPEND([(intermediate + 30).bfloat16(), last.bfloat16()])
    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded[:, 2:].mean(dim=(2, 3)), exact[:, 2:].mean(dim=(2, 3)), rtol=0.02)


@pytest.mark.parametrize(
    ("spec", "size", "features"),
    [
        (NetSpec(weights="none"), 96, 1280 + 40 + 80 + 112 + 192),
        (NetSpec(name="efficientnet-lite2", weights="none"), 70, 1280 + 48 + 88 + 120 + 208),
        (NetSpec(name="resnet18", weights="none"), 64, 512 + 128 + 256),
        (NetSpec(name="resnet50v2", weights="none"), 72, 2048 + 512 + 1024),
        (NetSpec(name="resnet", weights="none", resnet=DEEP), 18, 10 + 6 + 8),
        (NetSpec(name="convnet", weights="none"), 32, 128),
    ],
    ids=lambda value: value.name if isinstance(value, NetSpec) else str(value),
)
def test_networks_are_exported_with_their_features(spec: NetSpec, size: int, features: int):
    torch.manual_seed(0)
    network = create_classifier(spec.model_copy(update={"intermediate_features": True}), 3, size=size).eval()
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = network(torch.from_numpy(images))
    assert expected.embedding.shape == (3, features)
    model = export_onnx(frozen_copy(network), size)
    for engine in ENGINES:
        outputs = create_engine(engine, model).run(images)
        assert np.allclose(outputs.embedding, expected.embedding.numpy(), atol=1e-4)
        # The class activation map is exact for the added channels too.
        weight = network.head.fc.weight.detach().numpy()
        evidence = class_activation_map(outputs.featuremap[1], weight).mean(axis=(1, 2))
        assert np.allclose(evidence + network.head.fc.bias.detach().numpy(), outputs.logits[1], atol=1e-4)


def test_the_first_features_are_those_of_the_last_map():
    spec = NetSpec(name="resnet", weights="none", resnet=DEEP)
    torch.manual_seed(0)
    network = create_classifier(spec.model_copy(update={"intermediate_features": True}), 3, size=16).eval()
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    with torch.no_grad():
        more = network.embed(images)
        network.append_deviations = None
        fewer = network.embed(images)
    assert torch.equal(more[:, :10], fewer)


@pytest.mark.parametrize(
    "spec",
    [
        NetSpec(name="efficientnet-lite1", weights="none"),
        NetSpec(name="resnet50v2", weights="none"),
        *(
            NetSpec(name="resnet", weights="none", resnet=ResNetSpec(layers=(1,) * depth, widths=(4,) * depth))
            for depth in (1, 2, 3)
        ),
        NetSpec(name="convnet", weights="none"),
    ],
    ids=lambda spec: f"{spec.name} {len(spec.resnet.layers)}",
)
def test_networks_that_use_intermediate_features_are_known_by_their_settings(spec: NetSpec):
    assert not uses_intermediate_features(spec)
    more = spec.model_copy(update={"intermediate_features": True})
    network = create_classifier(more, 2, size=64)
    assert uses_intermediate_features(more) == (network.append_deviations is not None)
    assert network.head.features - network.backbone.channels == sum(network.backbone.intermediate_channels)


def test_mirror_images_are_averaged_with_all_features():
    spec = NetSpec(name="resnet", weights="none", resnet=DEEP, flip_average=True, intermediate_features=True)
    torch.manual_seed(0)
    network = create_classifier(spec, 3, size=16).eval()
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    with torch.no_grad():
        first, mirrored = network(images), network(images.flip(2))
    assert torch.allclose(first.logits, mirrored.logits, atol=1e-5)
    assert torch.allclose(first.featuremap, mirrored.featuremap.flip(3), atol=1e-4)


@pytest.mark.parametrize("flip_average", [False, True])
def test_the_appended_channels_are_not_quantized(flip_average: bool):
    spec = NetSpec(name="resnet", weights="none", resnet=DEEP, flip_average=flip_average, intermediate_features=True)
    torch.manual_seed(0)
    network = create_classifier(spec, 3, size=32).eval()
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    model = export_onnx(frozen_copy(network), 32)
    quantized = Quantizer.observe(model, [images]).model()
    exact, rounded = (create_engine("onnxruntime", each).run(images).embedding for each in (model, quantized))
    for part in (slice(0, 10), slice(10, 24)):
        error = np.abs(rounded - exact)[:, part].mean()
        assert 0 < error < 0.1 * exact[:, part].mean()
