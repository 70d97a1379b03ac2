"""From members to a whole bundle, and changes to a finished one that leave its weights as they are.

Evaluation judges the very file that ships, so its figures, the temperature and an int8 model come into the
bundle after the weights. Needs no torch.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from assay.bundle.card import render_card
from assay.bundle.container import CARD, INFO, MODEL, MODEL_INT8, NOVELTY, WEIGHTS, write_members
from assay.bundle.errors import BundleError
from assay.bundle.info import BundleInfo, dump_info, parse_info, version_of
from assay.bundle.read import Bundle


def pack(path: Path, info: BundleInfo, members: Mapping[str, bytes]) -> BundleInfo:
    """Write a bundle from its models and weights; version, card and digests are made here.

    Args:
        path: the bundle to write; an existing one is replaced when the new one is whole.
        info: what to say about it; `version` and `members` are replaced.
        members: `model.onnx`, `weights.safetensors` and, if there are any, `model.int8.onnx` and
            `novelty.safetensors`.

    Returns:
        The information as written.

    Raises:
        BundleError: the file cannot be written.
    """
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    version = version_of(info, digests[WEIGHTS], digests.get(NOVELTY), digests.get(MODEL_INT8))
    # The card names what the members can do.
    versioned = info.model_copy(update={"version": version, "members": dict(digests)})
    card = render_card(versioned).encode()
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
    """Write a bundle anew with some of its information changed.

    Args:
        bundle: an opened bundle; it still describes the old file afterwards, so open the new one.
        changes: fields of `BundleInfo` and their new values, such as metrics, temperature, thresholds.
        path: where to write; none replaces the bundle.
        int8: a quantised ONNX model to put in place of one that may be there.
        novelty: what familiar embeddings look like, as safetensors, to put in place of what may be there.

    Returns:
        The information as written; the version is another one if answers may be others.

    Raises:
        BundleError: a change does not fit the schema, or the file cannot be written.
    """
    kept = (MODEL, MODEL_INT8, WEIGHTS, NOVELTY)
    members = {name: bundle.member(name) for name in kept if name in bundle.info.members}
    new = {MODEL_INT8: int8, NOVELTY: novelty}
    members |= {name: content for name, content in new.items() if content is not None}
    try:
        # The members are about to be others.
        info = BundleInfo.model_validate({**dict(bundle.info), **changes, "members": {}})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "bundle"
        raise BundleError(f"{bundle.path} cannot be changed so: {where}: {first['msg']}") from None
    return pack(path or bundle.path, info, members)
