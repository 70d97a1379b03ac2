"""Write a bundle from a trained network, after checking that every runtime agrees with torch.

This module imports torch; `assay.bundle` itself does not.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import nn

from assay.bundle.archive import MODEL, WEIGHTS, BundleError
from assay.bundle.bundle_file import pack_bundle
from assay.bundle.info import BundleInfo, round_up
from assay.bundle.onnx_export import (
    export_onnx,
    frozen_copy,
    normalization_buffers,
    state_to_safetensors,
    torch_logits,
)
from assay.bundle.onnx_validation import check_onnx
from assay.core.text_layout import counted

MAX_LOGIT_DIFFERENCE = 1e-3
"""Largest |Δlogit| between torch and a runtime; beyond it no bundle is written."""

_BATCH_SIZE = 8


class _Outputs(Protocol):
    @property
    def logits(self) -> np.ndarray: ...


class Runtime(Protocol):
    """An ONNX model loaded by a runtime."""

    def run(self, images: np.ndarray) -> _Outputs:
        """Return the outputs for uint8 images [N, S, S, 3], including float32 logits [N, C]."""


def write_bundle(
    path: Path,
    network: nn.Module,
    info: BundleInfo,
    images: np.ndarray,
    engines: Mapping[str, Callable[[bytes], Runtime]],
) -> BundleInfo:
    """Export a network and write its bundle atomically; the same inputs give the same file.

    Args:
        path: the `.assay` file to write; an existing one is replaced.
        network: takes uint8 [N, S, S, 3] RGB and returns logits, embedding and feature map; it is not changed.
        info: metadata; `version`, `members` and `agreement` are filled in.
        images: uint8 [n, S, S, 3], n ≥ 1: preprocessed real photos on which torch and the runtimes must agree.
        engines: functions that load a serialized ONNX model, by name of the runtime.

    Returns:
        The metadata as written.

    Raises:
        BundleError: a runtime differs from torch by more than `MAX_LOGIT_DIFFERENCE`, the network does not fit `info`,
            or the file cannot be written. Nothing is written then.
        ValueError: `images` are not as described.
    """
    size = info.preprocess.size
    if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3) or not len(images):
        raise ValueError(f"images must be uint8 [n, {size}, {size}, 3], not {images.dtype} {list(images.shape)}")
    frozen = frozen_copy(network)
    expected = torch_logits(frozen, images)
    _check_network(path, frozen, info, expected)
    model = export_onnx(frozen, size)
    try:
        check_onnx(model)
    except ValueError as error:
        raise BundleError(f"{path} was not written: the network's model {error}; choose another net.name") from None
    agreement = measure_agreement(expected, model, images, engines)
    _check_agreement(path, agreement, len(images))
    rounded = {name: round_up(difference) for name, difference in agreement.items()}
    result = info.model_copy(update={"agreement": rounded})
    return pack_bundle(path, result, {MODEL: model, WEIGHTS: state_to_safetensors(frozen)})


def measure_agreement(
    expected: np.ndarray, model: bytes, images: np.ndarray, engines: Mapping[str, Callable[[bytes], Runtime]]
) -> dict[str, float]:
    """Return the largest |Δlogit| of every runtime.

    The first image runs alone and the others in batches, since runtimes use different kernels for a single image.

    Args:
        expected: float32 [n, C], torch's logits.
        model: serialized ONNX model.
        images: uint8 [n, S, S, 3].
        engines: runtimes by name.

    Returns:
        Difference by name; NaN if the logits are not finite or have another shape.
    """
    return {name: _max_difference(expected, make(model), images) for name, make in engines.items()}


def _max_difference(expected: np.ndarray, runtime: Runtime, images: np.ndarray) -> float:
    starts = [0, *range(1, len(images), _BATCH_SIZE), len(images)]
    parts = [runtime.run(images[start:end]).logits for start, end in pairwise(starts)]
    logits = np.concatenate(parts)
    if logits.shape != expected.shape:
        return float("nan")
    return float(np.abs(logits - expected).max())


def _check_network(path: Path, network: nn.Module, info: BundleInfo, logits: np.ndarray) -> None:
    if logits.ndim != 2 or logits.shape[1] != len(info.classes):
        raise BundleError(
            f"{path} was not written: the network gives logits {list(logits.shape)} and there are "
            f"{len(info.classes)} classes"
        )
    if not np.isfinite(logits).all():
        raise BundleError(f"{path} was not written: the network's logits are not finite; train with a lower rate")
    for name, values in normalization_buffers(network).items():
        if not np.allclose(values, getattr(info.preprocess, name), rtol=0, atol=1e-6):
            raise BundleError(
                f"{path} was not written: the network normalises with {name} {list(values)} and "
                f"preprocess.{name} is {list(getattr(info.preprocess, name))}"
            )


def _check_agreement(path: Path, agreement: Mapping[str, float], images: int) -> None:
    # Not `difference > MAX_LOGIT_DIFFERENCE`: NaN compares as false.
    wrong = {name: value for name, value in agreement.items() if not value <= MAX_LOGIT_DIFFERENCE}
    if not wrong:
        return
    right = [name for name in agreement if name not in wrong]
    differences = " and ".join(f"{value:.3g} ({name})" for name, value in wrong.items())
    found = f"by {differences} in a logit on {counted(images, 'photo')}, more than {MAX_LOGIT_DIFFERENCE:g}"
    names = " and ".join(wrong)
    if right:
        # The exported model is as it should be, since another runtime gives torch's logits.
        found = f"{names} and torch differ {found}, while {' and '.join(right)} and torch agree"
        advice = f"install the version of {names} that Assay is tested with"
    else:
        found = f"torch and the model exported from it differ {found}"
        advice = f"install the versions of torch, onnxscript, {', '.join(wrong)} that Assay is tested with"
    raise BundleError(f"{path} was not written: {found}; {advice}")
