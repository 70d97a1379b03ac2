"""From a torch network to the bytes that a bundle holds: ONNX and safetensors.

The only module of the package that needs torch; opening a bundle never imports it. The network handed over is
left as it was: everything happens on a copy, in evaluation mode and on the processor.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from safetensors.numpy import save
from torch import nn

from assay.bundle.errors import BundleError

INPUT = "images"
OUTPUTS = ("logits", "embedding", "featuremap")

_BATCH = 16
# A serialised protobuf message ends at 2 GiB; the safety margin holds everything but the weights.
_LARGEST = (2 << 30) - (16 << 20)


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
    if amount > _LARGEST:
        raise BundleError(
            f"the network holds {amount >> 20} MiB of weights and ONNX files end at 2 GiB: use a smaller"
        )
    # Two images, since a batch of one is taken for a constant.
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("N")},),
            dynamo=True,
            optimize=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise BundleError("the network cannot be exported: torch.onnx gave no model")
    content: bytes = _strip(program.model_proto).SerializeToString(deterministic=True)
    return content


def state(network: nn.Module) -> bytes:
    """Return parameters and buffers as safetensors, under the names of `state_dict`."""
    content: bytes = save(
        {
            name: np.array(tensor.detach().cpu().numpy(), order="C")
            for name, tensor in network.state_dict().items()
        }
    )
    return content


def torch_logits(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Return the network's own logits, float32 [N, C], of uint8 images [N, S, S, 3]."""
    with torch.no_grad():
        parts = [network(torch.from_numpy(part.copy()))[0] for part in _batches(images)]
    return torch.cat(parts).numpy()


def normalization_of(network: nn.Module) -> Mapping[str, tuple[float, ...]]:
    """Return the network's `mean` and `std` buffers, 0-1 scale, as far as it has them."""
    buffers = dict(network.named_buffers(recurse=False))
    return {
        name: tuple(float(value) for value in buffers[name].flatten())
        for name in ("mean", "std")
        if name in buffers
    }


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), _BATCH):
        yield images[start : start + _BATCH]


def _strip(model: onnx.ModelProto) -> onnx.ModelProto:
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
def _quiet() -> Iterator[None]:
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
