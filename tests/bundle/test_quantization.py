"""Quantized models: same interface, similar outputs, 8-bit weights."""

import numpy as np
import onnx
import onnxruntime
import pytest

from assay.bundle.onnx_export import export_onnx, frozen_copy
from assay.bundle.quantization import Quantizer


@pytest.fixture(scope="module")
def model(make_tiny) -> bytes:
    return export_onnx(frozen_copy(make_tiny()), 32)


@pytest.fixture
def quantizer(model: bytes, images: np.ndarray) -> Quantizer:
    return Quantizer.observe(model, [images[:4], images[4:]], threads=1)


def answers(model: bytes, images: np.ndarray) -> list[np.ndarray]:
    # Unfused, the quantized values are multiplied in fp32: the int8 kernels of processors without dot product
    # instructions saturate sums at 16 bits, which is independent of the model.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(["logits", "embedding", "featuremap"], {"images": images})
    return found


def kinds(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


def test_inputs_and_outputs_are_unchanged(model: bytes, quantizer: Quantizer, images: np.ndarray):
    small = quantizer.model()
    before, after = (onnx.load_from_string(item).graph for item in (model, small))
    assert [item.name for item in after.output] == [item.name for item in before.output]
    assert [item.name for item in after.input] == ["images"]
    for exact, rounded in zip(answers(model, images), answers(small, images), strict=True):
        assert rounded.shape == exact.shape
        assert rounded.dtype == np.float32
        assert not np.array_equal(rounded, exact)
        np.testing.assert_allclose(rounded, exact, atol=0.05 * float(np.abs(exact).max()))


def test_batch_size_stays_dynamic(quantizer: Quantizer, images: np.ndarray):
    small = quantizer.model()
    for count in (1, 5, 2):
        assert answers(small, images[:count])[0].shape == (count, 3)


def test_weights_are_int8_with_a_scale_per_channel(quantizer: Quantizer):
    graph = onnx.load_from_string(quantizer.model()).graph
    stored = [item for item in graph.initializer if item.data_type == onnx.TensorProto.INT8]
    assert [8, 3, 3, 3] in [list(item.dims) for item in stored]
    assert [8] in [list(item.dims) for item in graph.initializer if item.name.endswith("_scale")]


def test_excluded_layers_are_unchanged(model: bytes, quantizer: Quantizer, images: np.ndarray):
    kept = quantizer.model(quantizer.layers)
    assert "QuantizeLinear" not in kinds(kept)
    for exact, same in zip(answers(model, images), answers(kept, images), strict=True):
        np.testing.assert_allclose(same, exact, atol=1e-5)


def test_quantization_is_reproducible(model: bytes, quantizer: Quantizer, images: np.ndarray):
    again = Quantizer.observe(model, [images], threads=1)
    assert again.model() == quantizer.model()


def test_layers_are_ranked_until_the_time_limit(quantizer: Quantizer, images: np.ndarray):
    assert sorted(quantizer.sensitive_layers(images)) == sorted(quantizer.layers)
    assert len(quantizer.layers) == 1
    ticks = iter((0.0, 31.0))
    assert quantizer.sensitive_layers(images, clock=lambda: next(ticks)) == []


def test_no_images_raise(model: bytes):
    with pytest.raises(ValueError, match="no photos"):
        Quantizer.observe(model, [])
