"""Exports a torch network to ONNX and safetensors.

Works on a copy of the network in evaluation mode on the CPU; the network passed in is left as it was.
"""

import copy
import hashlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.numpy import save
from torch import nn

from assay.bundle.container import BundleError

INPUT_NAME = "images"
OUTPUT_NAMES = ("logits", "embedding", "featuremap")

_BATCH_SIZE = 16
# A serialised protobuf message ends at 2 GiB; the safety margin holds everything but the weights.
MAX_WEIGHT_BYTES = (2 << 30) - (16 << 20)
"""Bytes of weights that a model may have."""

_MAX_CACHED_BYTES = 256 << 20
"""Bytes of weights up to which a model is kept to be filled with others."""


def frozen_copy(network: nn.Module) -> nn.Module:
    """Return a copy of a network on the processor, in evaluation mode, in 32 bits, without gradients."""
    frozen = copy.deepcopy(network).cpu().float().eval().requires_grad_(requires_grad=False)
    # Activations that write over their input cost the exporter a quarter of its time and change no result.
    for module in frozen.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010
    return frozen


def export_onnx(network: nn.Module, size: int) -> bytes:
    """Export a network to ONNX once; see `OnnxExporter.export`."""
    return OnnxExporter().export(network, size)


class OnnxExporter:
    """Exports networks to ONNX, and reuses the last traced model for networks that differ only in some weights.

    The folds of a linear probe differ in the weights of the head, which the ONNX model holds unchanged under their
    names; tracing again would take most of a fold's time. Weights that the exporter changes (convolutions absorb the
    batch norm behind them) must be equal. Not safe for concurrent use.
    """

    def __init__(self) -> None:
        self._model: onnx.ModelProto | None = None
        self._free: frozenset[str] = frozenset()
        self._key = b""

    def export(self, network: nn.Module, size: int) -> bytes:
        """Export a network; the same weights give the same bytes.

        Args:
            network: takes uint8 [N, size, size, 3] and returns logits, embedding and feature map, normalization
                inside; in evaluation mode.
            size: side of the images in pixels.

        Returns:
            A serialized model with dynamic batch size that contains its weights.

        Raises:
            BundleError: the network is too large for one ONNX file.
        """
        weights = network.state_dict()
        amount = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
        if amount > MAX_WEIGHT_BYTES:
            raise BundleError(
                f"the network has {amount >> 20} MiB of weights, and ONNX files are limited to 2 GiB: use a smaller one"
            )
        if self._model is not None and _weights_key(network, size, self._free) == self._key:
            model = self._model
            for tensor in model.graph.initializer:
                if tensor.name in self._free:
                    tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].numpy(), tensor.name))
        else:
            model = _export_with_torch(network, size)
            self._remember(model if amount <= _MAX_CACHED_BYTES else None, network, size)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _remember(self, model: onnx.ModelProto | None, network: nn.Module, size: int) -> None:
        self._model = model
        if model is None:
            return
        weights = network.state_dict()
        # A tensor that is used twice may stand for another equal one.
        uses = Counter(name for node in model.graph.node for name in node.input)
        self._free = frozenset(
            tensor.name
            for tensor in model.graph.initializer
            if tensor.name in weights
            and uses[tensor.name] == 1
            and np.array_equal(numpy_helper.to_array(tensor), weights[tensor.name].numpy())
        )
        self._key = _weights_key(network, size, self._free)


def _export_with_torch(network: nn.Module, size: int) -> onnx.ModelProto:
    # Two images, since a batch of one is taken for a constant.
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    with _suppress_exporter_messages(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes=({0: torch.export.Dim("N")},),
            dynamo=True,
            optimize=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise BundleError("the network cannot be exported: torch.onnx gave no model")
    return _strip_metadata(program.model_proto)


def _weights_key(network: nn.Module, size: int, free: frozenset[str]) -> bytes:
    """Digest all that decides a model but the values of some weights."""
    kinds = [f"{type(item).__module__}.{type(item).__qualname__}" for item in network.modules()]
    digest = hashlib.sha256(f"{size} {sorted(free)} {network!r} {kinds}".encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        if name not in free:
            digest.update(tensor.numpy().tobytes())
    return digest.digest()


def state_to_safetensors(network: nn.Module) -> bytes:
    """Return parameters and buffers as safetensors, under the names of `state_dict`."""
    content: bytes = save(
        {name: np.array(tensor.detach().cpu().numpy(), order="C") for name, tensor in network.state_dict().items()}
    )
    return content


def torch_logits(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Return the network's own logits, float32 [N, C], of uint8 images [N, S, S, 3]."""
    with torch.no_grad():
        parts = [network(torch.from_numpy(part.copy()))[0] for part in _batches(images)]
    return torch.cat(parts).numpy()


def normalization_buffers(network: nn.Module) -> Mapping[str, tuple[float, ...]]:
    """Return the network's `mean` and `std` buffers, 0-1 scale, as far as it has them."""
    buffers = dict(network.named_buffers(recurse=False))
    return {
        name: tuple(float(value) for value in buffers[name].flatten()) for name in ("mean", "std") if name in buffers
    }


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), _BATCH_SIZE):
        yield images[start : start + _BATCH_SIZE]


def _strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what the exporter notes about the machine it ran on, such as stack traces with paths."""
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    return model


@contextmanager
def _suppress_exporter_messages() -> Iterator[None]:
    """Hold back what the exporter says about itself: torchvision's absence, and a renamed class in torch."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*LeafSpec.* is deprecated", category=FutureWarning)
            yield
    finally:
        registration.setLevel(level)
