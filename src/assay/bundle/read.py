"""A bundle opened for reading: nothing leaves it that does not match its digest.

Needs neither torch nor onnx, and never unpickles. `Bundle.open` checks every member, so that a bundle that
opens is whole; bytes that are handed out later are checked again, since the file may have changed in between.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from assay.bundle.container import (
    ALLOWED,
    CARD,
    INFO,
    NOVELTY,
    REQUIRED,
    WEIGHTS,
    Container,
)
from assay.bundle.errors import BundleError
from assay.bundle.info import MODELS, BundleInfo, Precision, parse_info
from assay.bundle.onnx_check import check_model


class Bundle:
    """One `.assay` file. Make it with `Bundle.open`."""

    def __init__(self, container: Container, info: BundleInfo) -> None:
        self._container = container
        self._info = info

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a bundle and check all of it.

        The SHA-256 of every member is compared, which takes about a tenth of a second for ResNet-50; this
        finds damage and careless edits, not a forger (see `assay.bundle.info`).

        Args:
            path: the `.assay` file.

        Raises:
            BundleError: the file is missing, no bundle, damaged, changed, or of a newer format.
        """
        container = Container(Path(path))
        try:
            info = parse_info(container.read(INFO))
        except ValueError as error:
            raise BundleError(f"{path} cannot be used: {error}") from None
        bundle = cls(container, info)
        bundle._verify()
        return bundle

    @property
    def path(self) -> Path:
        """Where the bundle lies."""
        return self._container.path

    @property
    def info(self) -> BundleInfo:
        """What the bundle says about itself."""
        return self._info

    @property
    def card(self) -> str:
        """The model card, Markdown."""
        return self.member(CARD).decode("utf-8", "replace")

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precisions of the models inside."""
        return tuple(precision for precision, name in MODELS.items() if name in self._info.members)

    def member(self, name: str) -> bytes:
        """Return a member's bytes, checked against its digest.

        Raises:
            BundleError: there is no such member, or it was changed since the bundle was opened.
        """
        if name not in self._info.members:
            raise BundleError(f"{self.path} holds no {name}")
        content = self._container.read(name)
        self._compare(name, hashlib.sha256(content).hexdigest())
        return content

    def model(self, precision: Precision = "fp32") -> bytes:
        """Return an ONNX model: `images` uint8 [N, S, S, 3] to `logits`, `embedding` and `featuremap`.

        Args:
            precision: fp32, or int8 where `precisions` names it.

        Raises:
            BundleError: the bundle holds no model of this precision, or one that has what no model has that
                Assay exports, such as weights in other files or a loop.
        """
        name = MODELS[precision]
        content = self.member(name)
        try:
            check_model(content)
        except ValueError as error:
            raise BundleError(f"{self.path} cannot be used: its {name} {error}") from None
        return content

    def weights(self) -> dict[str, np.ndarray]:
        """Return the network's parameters and buffers by name, to go on training.

        Raises:
            BundleError: the member is damaged.
        """
        return self._tensors(WEIGHTS)

    def novelty(self) -> dict[str, np.ndarray] | None:
        """Return what familiar embeddings look like, tensors by name, or None where the bundle holds nothing.

        Raises:
            BundleError: the member is damaged.
        """
        return self._tensors(NOVELTY) if NOVELTY in self._info.members else None

    def _tensors(self, name: str) -> dict[str, np.ndarray]:
        content = self.member(name)
        try:
            tensors: dict[str, np.ndarray] = load(content)
        except (SafetensorError, KeyError, ValueError) as error:
            raise BundleError(f"{self.path} cannot be used: its {name} is broken ({error})") from None
        return tensors

    def _verify(self) -> None:
        names, listed = self._container.names, frozenset(self._info.members)
        for name in sorted(names - ALLOWED):
            raise BundleError(f"{self.path} is not to be trusted: it holds {name!r}, which no bundle does")
        for name in sorted((REQUIRED - {INFO} | listed) - names):
            raise BundleError(f"{self.path} is not a whole bundle: it holds no {name}")
        for name in sorted(names - listed - {INFO}):
            raise BundleError(f"{self.path} is not to be trusted: its assay.json does not list its {name}")
        # Hashing gives way to other threads: two at a time take half as long.
        with ThreadPoolExecutor(2) as pool:
            for name, digest in zip(listed, pool.map(self._container.sha256, listed), strict=True):
                self._compare(name, digest)

    def _compare(self, name: str, digest: str) -> None:
        if digest != self._info.members[name]:
            raise BundleError(f"{self.path} was changed or damaged: its {name} does not match its digest")
