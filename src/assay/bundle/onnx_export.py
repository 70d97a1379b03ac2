"""Exports a torch network to ONNX and safetensors.

Works on a copy of the network in evaluation mode on the CPU; the network passed in is left as it was.
"""

import copy
import hashlib
import logging
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Self

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
_EXPORT_LOCK = threading.Lock()


def frozen_copy(network: nn.Module) -> nn.Module:
    """Return a copy of a network on the processor, in evaluation mode, in 32 bits, without gradients."""
    frozen = copy.deepcopy(network).cpu().float().eval().requires_grad_(requires_grad=False)
    # Activations that write over their input cost the exporter a quarter of its time and change no result.
    for module in frozen.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010
    return frozen


def export_onnx(network: nn.Module, size: int) -> bytes:
    """Export a network to ONNX; the same weights give the same bytes.

    Args:
        network: takes uint8 [N, size, size, 3] and returns logits, embedding and feature map, normalisation
            inside; in evaluation mode.
        size: side of the images in pixels.

    Returns:
        A serialised model with dynamic batch size whose weights are inside.

    Raises:
        BundleError: the network is too large for one ONNX file.
    """
    amount = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if amount > MAX_WEIGHT_BYTES:
        raise BundleError(f"the network holds {amount >> 20} MiB of weights and ONNX files end at 2 GiB: use a smaller")
    with _EXPORT_LOCK:
        known = _ExportedModel.last
        model = None if known is None else known.with_weights_of(network, size)
        if model is None:
            model = _export_with_torch(network, size)
            _ExportedModel.last = _ExportedModel.of(network, size, model) if amount <= _MAX_CACHED_BYTES else None
        content: bytes = model.SerializeToString(deterministic=True)
    return content


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


class _ExportedModel:
    """A model that was exported, to be filled with other weights.

    The folds of a probe differ in the weights of the head alone, which the model holds as they are, under
    their names; tracing the network again would take most of a fold's time. Weights that the exporter has
    changed (convolutions take in the batch norm behind them) must be the same.
    """

    last: ClassVar["_ExportedModel | None"] = None

    def __init__(self, model: onnx.ModelProto, free: frozenset[str], key: bytes) -> None:
        self._model, self._free, self._key = model, free, key

    @classmethod
    def of(cls, network: nn.Module, size: int, model: onnx.ModelProto) -> Self:
        weights = network.state_dict()
        # One that serves twice may stand for an equal one as well.
        uses = Counter(name for node in model.graph.node for name in node.input)
        free = frozenset(
            one.name
            for one in model.graph.initializer
            if one.name in weights
            and uses[one.name] == 1
            and np.array_equal(numpy_helper.to_array(one), weights[one.name].numpy())
        )
        return cls(model, free, _weights_key(network, size, free))

    def with_weights_of(self, network: nn.Module, size: int) -> onnx.ModelProto | None:
        """Return the model with other weights; None where it must be exported anew."""
        if _weights_key(network, size, self._free) != self._key:
            return None
        weights = network.state_dict()
        for one in self._model.graph.initializer:
            if one.name in self._free:
                one.CopyFrom(numpy_helper.from_array(weights[one.name].numpy(), one.name))
        return self._model


def _weights_key(network: nn.Module, size: int, free: frozenset[str]) -> bytes:
    """Digest all that decides a model but the values of some weights."""
    kinds = [f"{type(one).__module__}.{type(one).__qualname__}" for one in network.modules()]
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
