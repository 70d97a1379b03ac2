"""Export a torch network to ONNX and safetensors.

Works on a copy of the network in evaluation mode on the CPU; the network passed in is not changed.
"""

import copy
import hashlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.numpy import save
from torch import nn

from assay.bundle.archive import BundleError
from assay.core.files import atomic_write, cache_folder

INPUT_NAME = "images"
OUTPUT_NAMES = ("logits", "embedding", "featuremap")

_BATCH_SIZE = 16
# Serialized protobuf messages are limited to 2 GiB; the margin is for everything but the weights.
MAX_WEIGHT_BYTES = (2 << 30) - (16 << 20)
"""Largest total size of the weights of a model."""

_DIGEST_BYTES = 32
_GRAPH_FORMAT = 1
"""Part of the key of cached graphs; to be increased with a change of `_trace`."""


def frozen_copy(network: nn.Module) -> nn.Module:
    """Return a copy of a network on the CPU, in evaluation mode, in float32, without gradients."""
    frozen = copy.deepcopy(network).cpu().float().eval().requires_grad_(requires_grad=False)
    # In-place activations make up a quarter of the export time and do not change the result.
    for module in frozen.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010
    return frozen


def export_onnx(network: nn.Module, size: int) -> bytes:
    """Export a network to ONNX; the same weights give the same bytes.

    Tracing takes seconds and depends on the architecture alone. The traced graph is therefore cached on disk, without
    weights, and later exports only fill them in.

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
    key = _graph_key(network, size)
    graph = _read_graph(key)
    if graph is None:
        graph = _trace(network, size)
        _write_graph(key, graph)
    return _fill(graph, weights)


def _trace(network: nn.Module, size: int) -> onnx.ModelProto:
    """Trace a network; its weights become inputs of the graph, so that no optimization can merge or change them."""
    # Two images: a batch size of one would be treated as constant.
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    with _suppress_exporter_messages(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes=({0: torch.export.Dim("N")},),
            dynamo=True,
            optimize=False,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise BundleError("the network cannot be exported: torch.onnx gave no model")
    for name in network.state_dict():
        value = program.model.graph.initializers.pop(name, None)
        if value is not None:
            value.const_value = None
            program.model.graph.inputs.append(value)
    program.optimize()
    return _strip_metadata(program.model_proto)


def _fill(graph: onnx.ModelProto, weights: Mapping[str, torch.Tensor]) -> bytes:
    """Replace the inputs that stand for weights by their values, and serialize."""
    names = [item.name for item in graph.graph.input]
    del graph.graph.input[1 + names.index(INPUT_NAME) :]
    graph.graph.initializer.extend(
        numpy_helper.from_array(weights[name].numpy(), name) for name in names if name != INPUT_NAME
    )
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def _read_graph(key: str) -> onnx.ModelProto | None:
    """Read a cached graph; None if there is none, or if the file is not as it was written for this key."""
    try:
        stored = _graph_path(key).read_bytes()
    except OSError:
        return None
    digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    return onnx.load_from_string(content) if digest == _graph_digest(key, content) else None


def _write_graph(key: str, graph: onnx.ModelProto) -> None:
    path, content = _graph_path(key), graph.SerializeToString(deterministic=True)
    # A cache that cannot be written only costs time.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(_graph_digest(key, content) + content)


def _graph_path(key: str) -> Path:
    return cache_folder() / "graphs" / key


def _graph_digest(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _graph_key(network: nn.Module, size: int) -> str:
    """Return a digest of everything that a traced graph depends on: architecture, code of the layers, exporter."""
    versions = [version(name) for name in ("torch", "onnx", "onnxscript")]
    digest = hashlib.sha256(f"{_GRAPH_FORMAT} {size} {versions} {network!r}".encode())
    for name, layer in network.named_modules():
        settings = {key: value for key, value in vars(layer).items() if isinstance(value, (int, float, str, tuple))}
        digest.update(f"{name} {type(layer).__qualname__} {sorted(settings.items())}".encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
    for source in sorted({inspect.getfile(type(layer)) for layer in network.modules()}):
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()


def state_to_safetensors(network: nn.Module) -> bytes:
    """Return parameters and buffers as safetensors, under the names of `state_dict`."""
    content: bytes = save(
        {name: np.array(tensor.detach().cpu().numpy(), order="C") for name, tensor in network.state_dict().items()}
    )
    return content


def torch_logits(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Return the logits computed by torch, float32 [N, C], of uint8 images [N, S, S, 3]."""
    with torch.no_grad():
        parts = [network(torch.from_numpy(part.copy()))[0] for part in _batches(images)]
    return torch.cat(parts).numpy()


def normalization_buffers(network: nn.Module) -> Mapping[str, tuple[float, ...]]:
    """Return the network's `mean` and `std` buffers, 0-1 scale, if it has them."""
    buffers = dict(network.named_buffers(recurse=False))
    return {
        name: tuple(float(value) for value in buffers[name].flatten()) for name in ("mean", "std") if name in buffers
    }


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), _BATCH_SIZE):
        yield images[start : start + _BATCH_SIZE]


def _strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove metadata about the machine, such as stack traces with paths."""
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
    """Hide messages of the exporter about missing torchvision and a renamed class in torch."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*LeafSpec.* is deprecated", category=FutureWarning)
            yield
    finally:
        registration.setLevel(level)
