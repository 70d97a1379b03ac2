"""Create the network of a run with its initial weights, after checking that data, memory.

Weights allow it.
"""

from pathlib import Path

import torch

from assay.bundle.onnx_export import MAX_WEIGHT_BYTES
from assay.core.errors import UsageError
from assay.core.progress import Progress, no_progress
from assay.data import Dataset
from assay.data.loading import check_trainable
from assay.nets import Classifier as Network
from assay.nets import create_classifier, default_normalization, load_pretrained
from assay.recipe import NetSpec, PreprocessSpec, Recipe
from assay.training.device import select_device

_CUSTOM_NETWORKS = frozenset({"resnet", "convnet"})
_TRAINING_COPIES = 4
"""Weights, their gradients, and two numbers a weight that an optimiser keeps."""


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the bytes of memory that new processes may take; 0 where the system does not say."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else 0


def check_model_size(net: NetSpec, classes: int, size: int) -> None:
    """Refuse a network of the recipe's own shape that no bundle could hold, or that memory has no room for.

    Its weights are counted without being made.

    Args:
        net: the recipe's network.
        classes: how many it tells apart.
        size: side of its input in pixels.

    Raises:
        UsageError: its weights take more than an ONNX file holds, or training them more than is free.
    """
    if net.name not in _CUSTOM_NETWORKS and not net.head.hidden:
        return
    with torch.device("meta"):
        network = create_classifier(net, classes, size=size)
    weights = sum(one.numel() * one.element_size() for one in network.state_dict().values())
    told = f"the network of these settings has {weights / 2**30:,.1f} GiB of weights"
    if weights > MAX_WEIGHT_BYTES:
        raise UsageError(f"{told}, and ONNX files end at 2 GiB: lower its widths, layers, filters or head")
    free = free_memory()
    if free and _TRAINING_COPIES * weights > free:
        raise UsageError(
            f"{told}; training takes {_TRAINING_COPIES} times as much and {free / 2**30:,.1f} GiB are free: lower its"
            " widths, layers, filters or head"
        )


InitialModel = tuple[Network, PreprocessSpec]
"""A network with the weights it starts from, and the preprocessing with every value filled in."""


def build_model(recipe: Recipe, dataset: Dataset, progress: Progress = no_progress) -> InitialModel:
    """Make the network a run starts from, and fill in what it wants of the pixels.

    Args:
        recipe: every setting.
        dataset: its classes are the network's.
        progress: told of a download.

    Returns:
        The network with its weights, and the preprocessing with mean and standard deviation.

    Raises:
        AssayError: the photos, the computer or the weights do not allow the run.
    """
    select_device(recipe.train)
    check_trainable(dataset, recipe.data)
    mean, std = default_normalization(recipe.net.name)
    spec = recipe.preprocess
    if spec.mean is None:
        spec = spec.model_copy(update={"mean": mean, "std": std})
    check_model_size(recipe.net, len(dataset.classes), spec.size)
    torch.manual_seed(recipe.train.seed)
    network = create_classifier(recipe.net, len(dataset.classes), mean=spec.mean, std=spec.std, size=spec.size)
    if recipe.net.weights != "none":
        load_pretrained(network, recipe.net, progress=progress)
    return network, spec
