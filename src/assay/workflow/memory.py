"""How much memory there is, and whether a network fits into it, before any of it is taken."""

from pathlib import Path

import torch

from assay.bundle.export import MOST_WEIGHTS
from assay.errors import UsageError
from assay.nets import create
from assay.recipe import NetSpec

_OWN_SHAPES = frozenset({"resnet", "convnet"})
_COPIES = 4
"""Weights, their gradients, and two numbers a weight that an optimiser keeps."""


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the bytes of memory that new processes may take; 0 where the system does not say."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else 0


def refuse_too_large(net: NetSpec, classes: int, size: int) -> None:
    """Refuse a network of the recipe's own shape that no bundle could hold, or that memory has no room for.

    Its weights are counted without being made.

    Args:
        net: the recipe's network.
        classes: how many it tells apart.
        size: side of its input in pixels.

    Raises:
        UsageError: its weights take more than an ONNX file holds, or training them more than is free.
    """
    if net.name not in _OWN_SHAPES and not net.head.hidden:
        return
    with torch.device("meta"):
        network = create(net, classes, size=size)
    weights = sum(one.numel() * one.element_size() for one in network.state_dict().values())
    told = f"the network of these settings has {weights / 2**30:,.1f} GiB of weights"
    if weights > MOST_WEIGHTS:
        raise UsageError(f"{told}, and ONNX files end at 2 GiB: lower its widths, layers, filters or head")
    free = free_memory()
    if free and _COPIES * weights > free:
        raise UsageError(
            f"{told}; training takes {_COPIES} times as much and {free / 2**30:,.1f} GiB are free: lower its"
            " widths, layers, filters or head"
        )
