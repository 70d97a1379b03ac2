"""The plain baseline's network: torchvision's ResNet-18 in float32, eager, on the processor."""

from pathlib import Path

import numpy as np
import torch
import torchvision_here  # noqa: F401 - mends torchvision
from common import CLASSES, MEAN, STD, WORK, squeezed, top
from PIL import Image
from torchvision.models import resnet18

_MEAN, _STD = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))


def load(threads: int) -> torch.nn.Module:
    """Return the network with the weights that all contenders share, ready to answer."""
    torch.set_num_threads(threads)
    network = resnet18(weights=None, num_classes=CLASSES)
    network.load_state_dict(torch.load(WORK / "weights.pt", weights_only=True))
    return network.eval()


def prepare(image: Image.Image) -> torch.Tensor:
    """Return a photo as the network wants it, float32 [1, 3, S, S]."""
    pixels = torch.from_numpy(np.array(squeezed(image))).permute(2, 0, 1).unsqueeze(0)
    return (pixels.float() / 255 - _MEAN) / _STD


def answer(network: torch.nn.Module, source: Path, *, region: bool = False) -> int:
    """Return the class of a photo's file."""
    with Image.open(source) as image:
        tensor = prepare(top(image) if region else image)
    with torch.inference_mode():
        return int(network(tensor).softmax(1).argmax())
