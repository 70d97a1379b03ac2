"""Open, pack and amend bundles, without torch or onnx and without unpickling.

`Bundle.open` verifies the digest of every member; bytes that are read later are verified again, since the
file may have changed in between.
"""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load

from assay.bundle.archive import (
    ALLOWED,
    CARD,
    INFO,
    MODEL,
    MODEL_INT8,
    NOVELTY,
    REQUIRED,
    WEIGHTS,
    BundleArchive,
    BundleError,
    write_members,
)
from assay.bundle.info import MODEL_MEMBERS, BundleInfo, Precision, bundle_version, dump_info, parse_info
from assay.bundle.model_card import render_model_card
from assay.bundle.onnx_validation import check_onnx
from assay.recipe.validation_text import describe_first


class Bundle:
    """An opened `.assay` file; create it with `Bundle.open`."""

    def __init__(self, archive: BundleArchive, info: BundleInfo) -> None:
        self._archive = archive
        self._info = info

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a bundle and verify it.

        The SHA-256 of every member is compared, which takes about a tenth of a second for ResNet-50. This detects
        damage and accidental changes, not forgery (see `assay.bundle.info`).

        Args:
            path: the `.assay` file.

        Raises:
            BundleError: the file is missing, not a bundle, damaged, changed, or of another format version.
        """
        archive = BundleArchive(Path(path))
        try:
            info = parse_info(archive.read(INFO))
        except ValueError as error:
            raise BundleError(f"{path} cannot be used: {error}") from None
        bundle = cls(archive, info)
        bundle._verify()
        return bundle

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self._archive.path

    @property
    def info(self) -> BundleInfo:
        """Metadata of the bundle."""
        return self._info

    @property
    def card(self) -> str:
        """The model card, Markdown."""
        return self.member(CARD).decode("utf-8", "replace")

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precisions of the models that the bundle contains."""
        return tuple(precision for precision, name in MODEL_MEMBERS.items() if name in self._info.members)

    def member(self, name: str) -> bytes:
        """Return a member's bytes, checked against its digest.

        Raises:
            BundleError: the member does not exist, or has changed since the bundle was opened.
        """
        if name not in self._info.members:
            raise BundleError(f"{self.path} holds no {name}")
        content = self._archive.read(name)
        self._compare(name, hashlib.sha256(content).hexdigest())
        return content

    def model(self, precision: Precision = "fp32") -> bytes:
        """Return an ONNX model: `images` uint8 [N, S, S, 3] to `logits`, `embedding` and `featuremap`.

        Args:
            precision: fp32, or int8 if `precisions` contains it.

        Raises:
            BundleError: the bundle contains no model of this precision, or the model has features that exported models
                never have, such as weights in other files or loops.
        """
        name = MODEL_MEMBERS[precision]
        content = self.member(name)
        try:
            check_onnx(content)
        except ValueError as error:
            raise BundleError(f"{self.path} cannot be used: its {name} {error}") from None
        return content

    def model_digest(self, precision: Precision = "fp32") -> str:
        """Return the SHA-256 of the ONNX model of a precision that the bundle contains, in hexadecimal."""
        return self._info.members[MODEL_MEMBERS[precision]]

    def weights(self) -> dict[str, np.ndarray]:
        """Return the network's parameters and buffers by name, for example for further training.

        Raises:
            BundleError: the member is damaged.
        """
        return self._tensors(WEIGHTS)

    def novelty(self) -> dict[str, np.ndarray] | None:
        """Return the tensors of the novelty detector by name, or None if the bundle has none.

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
        names, listed = self._archive.names, frozenset(self._info.members)
        for name in sorted(names - ALLOWED):
            raise BundleError(f"{self.path} is not to be trusted: it holds {name!r}, which no bundle does")
        for name in sorted((REQUIRED - {INFO} | listed) - names):
            raise BundleError(f"{self.path} is not a whole bundle: it holds no {name}")
        for name in sorted(names - listed - {INFO}):
            raise BundleError(f"{self.path} is not to be trusted: its assay.json does not list its {name}")
        # hashlib releases the GIL: two threads take half the time.
        with ThreadPoolExecutor(2) as pool:
            for name, digest in zip(listed, pool.map(self._archive.sha256, listed), strict=True):
                self._compare(name, digest)

    def _compare(self, name: str, digest: str) -> None:
        if digest != self._info.members[name]:
            raise BundleError(f"{self.path} was changed or damaged: its {name} does not match its digest")


def pack_bundle(path: Path, info: BundleInfo, members: Mapping[str, bytes]) -> BundleInfo:
    """Write a bundle from its models and weights; version, card and digests are computed.

    Args:
        path: the bundle to write; an existing one is replaced atomically.
        info: its metadata; `version` and `members` are replaced.
        members: `model.onnx`, `weights.safetensors` and, if there are any, `model.int8.onnx` and
            `novelty.safetensors`.

    Returns:
        The metadata as written.

    Raises:
        BundleError: the file cannot be written.
    """
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    version = bundle_version(info, digests[WEIGHTS], digests.get(NOVELTY), digests.get(MODEL_INT8))
    # The card depends on the members.
    versioned = info.model_copy(update={"version": version, "members": dict(digests)})
    card = render_model_card(versioned).encode()
    digests[CARD] = hashlib.sha256(card).hexdigest()
    whole = versioned.model_copy(update={"members": dict(sorted(digests.items()))})
    text = dump_info(whole)
    write_members(path, {INFO: text, CARD: card, **members})
    return parse_info(text)


def amend_bundle(
    bundle: Bundle,
    changes: Mapping[str, Any],
    *,
    path: Path | None = None,
    int8: bytes | None = None,
    novelty: bytes | None = None,
) -> BundleInfo:
    """Rewrite a bundle with some of its metadata changed.

    Args:
        bundle: an opened bundle; it still describes the old file afterwards, so open the new one.
        changes: fields of `BundleInfo` and their new values, such as metrics, temperature, thresholds.
        path: where to write; None: the bundle is replaced.
        int8: a quantized ONNX model; replaces that of the bundle, if there is one.
        novelty: tensors of the novelty detector, as safetensors; they replace those of the bundle, if there are any.

    Returns:
        The metadata as written; the version changes if predictions may change.

    Raises:
        BundleError: a change does not fit the schema, or the file cannot be written.
    """
    kept = (MODEL, MODEL_INT8, WEIGHTS, NOVELTY)
    members = {name: bundle.member(name) for name in kept if name in bundle.info.members}
    new = {MODEL_INT8: int8, NOVELTY: novelty}
    members |= {name: content for name, content in new.items() if content is not None}
    try:
        # `pack_bundle` lists the new members.
        info = BundleInfo.model_validate({**dict(bundle.info), **changes, "members": {}})
    except ValidationError as error:
        raise BundleError(f"{bundle.path} cannot be changed so: {describe_first(error, 'bundle')}") from None
    return pack_bundle(path or bundle.path, info, members)
