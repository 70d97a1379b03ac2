"""Create the network of a run with its initial weights, or rebuild the network of a bundle, in torch."""

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from assay.bundle import Bundle, BundleError
from assay.bundle.onnx_export import MAX_WEIGHT_BYTES
from assay.core.errors import UsageError
from assay.core.progress import Progress, no_progress
from assay.data import Dataset
from assay.data.loading import check_trainable
from assay.nets import ClassifierNetwork as Network
from assay.nets import create_classifier, default_normalization, load_pretrained
from assay.nets.heads import Head
from assay.recipe import NetSpec, PreprocessSpec, Recipe
from assay.training.device import select_device

_CUSTOM_NETWORKS = frozenset({"resnet", "convnet"})
_TRAINING_COPIES = 4
"""Weights, gradients, and two values per weight in the optimizer."""
_HEAD_PREFIX = "head."


def build_model(recipe: Recipe, dataset: Dataset, progress: Progress = no_progress) -> tuple[Network, PreprocessSpec]:
    """Create the network of a run with its initial weights.

    Everything that would stop the run is checked here, before its folder exists.

    Args:
        recipe: every setting.
        dataset: with the classes of the network.
        progress: called during a download.

    Returns:
        The network, and the preprocessing with mean and standard deviation filled in.

    Raises:
        AssayError: the images or the weights cannot be used, or memory or disk space is insufficient.
    """
    select_device(recipe.train)
    check_trainable(dataset, recipe.data)
    spec = recipe.preprocess
    if spec.mean is None:
        mean, std = default_normalization(recipe.net.name)
        spec = spec.model_copy(update={"mean": mean, "std": std})
    check_model_size(recipe.net, len(dataset.classes), spec.size)
    torch.manual_seed(recipe.train.seed)
    network = _create_network(recipe, dataset.classes, spec)
    if recipe.net.weights != "none":
        load_pretrained(network, recipe.net, progress=progress)
    return network, spec


def check_model_size(net: NetSpec, classes: int, size: int) -> None:
    """Check that a network of custom size fits into a bundle and into memory, without allocating its weights.

    Args:
        net: the recipe's network.
        classes: number of classes.
        size: side of its input in pixels.

    Raises:
        UsageError: its weights exceed the limit of an ONNX file, or training it needs more memory than is free.
    """
    if net.name not in _CUSTOM_NETWORKS and not net.head.hidden:
        return
    with torch.device("meta"):
        network = create_classifier(net, classes, size=size)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    message = f"the network of these settings has {weights / 2**30:,.1f} GiB of weights"
    advice = "reduce its widths, layers, filters or head"
    if weights > MAX_WEIGHT_BYTES:
        raise UsageError(f"{message}, and ONNX files are limited to 2 GiB: {advice}")
    free = free_memory()
    if free and _TRAINING_COPIES * weights > free:
        raise UsageError(
            f"{message}; training needs {_TRAINING_COPIES} times as much, "
            f"but {free / 2**30:,.1f} GiB are free: {advice}"
        )


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the available memory in bytes; 0 where the system does not report it."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else 0


def rebuild_network(bundle: Bundle) -> Network:
    """Rebuild a bundle's network in torch, in evaluation mode, without gradients.

    Raises:
        BundleError: the recipe in the bundle cannot be read, or its weights belong to another network.
    """
    recipe, spec = _recipe_of(bundle), bundle.info.preprocess
    network = _create_network(recipe, bundle.info.classes, spec)
    try:
        network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in bundle.weights().items()})
    except RuntimeError:
        raise _other_weights(bundle, "network") from None
    return network.eval().requires_grad_(requires_grad=False)


def rebuild_head(bundle: Bundle) -> Head:
    """Rebuild a bundle's head in torch, in evaluation mode.

    Raises:
        BundleError: the recipe in the bundle cannot be read, or its weights belong to another head.
    """
    recipe = _recipe_of(bundle)
    spec, classes = recipe.net.head, bundle.info.classes
    tensors = {
        name.removeprefix(_HEAD_PREFIX): torch.from_numpy(value)
        for name, value in bundle.weights().items()
        if name.startswith(_HEAD_PREFIX)
    }
    first = "hidden.0.1.weight" if spec.hidden else "fc.weight"
    try:
        head = Head(spec, tensors[first].shape[-1], len(classes), _labels_per_class(recipe, classes))
        head.load_state_dict(tensors)
    except (KeyError, IndexError, RuntimeError):
        raise _other_weights(bundle, "head") from None
    return head.eval()


class HeadOnFeatureMap(nn.Module):
    """Pooling and head of a classifier; its output is every logit minus the mean of all logits."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.featuremap = nn.Identity()
        self.head = head

    def forward(self, featuremap: Tensor) -> Tensor:
        """Map float32 [N, K, h, w] to [N, C]."""
        logits: Tensor = self.head(self.featuremap(featuremap).mean(dim=(2, 3)))
        return logits - logits.mean(dim=1, keepdim=True)


def _create_network(recipe: Recipe, classes: Sequence[str], spec: PreprocessSpec) -> Network:
    return create_classifier(
        recipe.net,
        len(classes),
        mean=spec.mean,
        std=spec.std,
        size=spec.size,
        labels_per_class=_labels_per_class(recipe, classes),
    )


def _labels_per_class(recipe: Recipe, classes: Sequence[str]) -> tuple[int, ...] | None:
    mapping = recipe.data.class_mapping
    return tuple(len(mapping[name]) for name in classes) if recipe.train.source_labels and mapping else None


def _recipe_of(bundle: Bundle) -> Recipe:
    try:
        return Recipe.model_validate(bundle.info.provenance.recipe)
    except ValidationError:
        raise BundleError(f"the recipe in {bundle.path} cannot be read, so its network is unknown") from None


def _other_weights(bundle: Bundle, kind: str) -> BundleError:
    return BundleError(f"the weights in {bundle.path} do not match the {kind} of its recipe")
