"""Rebuild a bundle's network in torch and trace it to TorchScript."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from assay.bundle import Bundle, BundleError
from assay.core.files import atomic_write
from assay.nets import Classifier, create_classifier
from assay.recipe import Recipe

_trace: Callable[..., torch.jit.ScriptModule] = torch.jit.trace  # which has no types


class _TupleOutput(nn.Module):
    """A classifier whose answer is a plain tuple: TorchScript runs without Assay's classes."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, embedding, featuremap = self.network(images)
        return logits, embedding, featuremap


def rebuild_network(bundle: Bundle) -> Classifier:
    """Make a bundle's network in torch, in evaluation mode, without gradients.

    Raises:
        BundleError: the bundle holds no recipe that can be read, or weights of another network.
    """
    info = bundle.info
    try:
        recipe = Recipe.model_validate(info.provenance.recipe)
    except ValidationError:
        raise BundleError(f"{bundle.path} does not tell its network: its recipe cannot be read") from None
    spec = info.preprocess
    network = create_classifier(recipe.net, len(info.classes), mean=spec.mean, std=spec.std, size=spec.size)
    try:
        network.load_state_dict({name: torch.from_numpy(value) for name, value in bundle.weights().items()})
    except RuntimeError:
        raise BundleError(
            f"{bundle.path} contradicts itself: its weights are not those of the network in its recipe"
        ) from None
    return network.eval().requires_grad_(requires_grad=False)


def write_torchscript(bundle: Bundle, path: Path) -> None:
    """Write a bundle's network as TorchScript, for any number of images at a time.

    It takes uint8 [N, S, S, 3], RGB, and returns logits [N, C], embedding [N, D] and feature map
    [N, K, h, w], as the bundle's ONNX model does.

    Args:
        bundle: an opened bundle.
        path: the file to write.

    Raises:
        BundleError: the network cannot be made anew.
    """
    size = bundle.info.preprocess.size
    # Two images, since a batch of one is taken for a constant.
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated", category=DeprecationWarning)
        # Padding is worked out from the size of the images, which the model fixes.
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python boolean")
        # What the trace does is compared with the bundle on photos, which says more than a second trace.
        script = _trace(_TupleOutput(rebuild_network(bundle)).eval(), example, check_trace=False)
        with atomic_write(path) as temporary:
            script.save(str(temporary))
