"""Rebuild a bundle's network in torch and trace it to TorchScript."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from assay.bundle import Bundle
from assay.core.files import atomic_write
from assay.nets import ClassifierNetwork
from assay.pipeline.build_network import rebuild_network

_trace: Callable[..., torch.jit.ScriptModule] = torch.jit.trace  # which has no types


class _TupleOutput(nn.Module):
    """A classifier that returns a plain tuple, since TorchScript must run without Assay's classes."""

    def __init__(self, network: ClassifierNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, embedding, featuremap = self.network(images)
        return logits, embedding, featuremap


def write_torchscript(bundle: Bundle, path: Path) -> None:
    """Write a bundle's network as TorchScript with a dynamic batch size.

    It takes uint8 [N, S, S, 3], RGB, and returns logits [N, C], embedding [N, D] and feature map
    [N, K, h, w], as the bundle's ONNX model does.

    Raises:
        BundleError: the network cannot be rebuilt.
    """
    size = bundle.info.preprocess.size
    # Two images: the tracer would treat a batch size of one as constant.
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated", category=DeprecationWarning)
        # Padding is computed from the image size, which is constant here.
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python boolean")
        # The outputs are compared with the bundle on photos, so no second trace is needed.
        script = _trace(_TupleOutput(rebuild_network(bundle)).eval(), example, check_trace=False)
        with atomic_write(path) as temporary:
            script.save(str(temporary))
