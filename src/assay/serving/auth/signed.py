"""Signed requests: what a client signs, and what of it the server can check before it reads the body.

Knows nothing of who has which secret. The signature is HMAC-SHA256 with the key's secret (its ASCII text)
over six things, so none of them can be changed on the way: method, path with query, time, nonce, digest of
the image. The digest travels in a header, so a forged request is refused unread; when the image has come, its
digest is compared. Not covered: the host, other headers, and form fields besides the images.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

KEY = "x-assay-key"
TIMESTAMP = "x-assay-timestamp"
NONCE = "x-assay-nonce"
DIGEST = "x-assay-content-sha256"
SIGNATURE = "x-assay-signature"
HEADERS = (KEY, TIMESTAMP, NONCE, DIGEST, SIGNATURE)
_SHAPES = (
    r"ak_[a-z0-9]{16}",
    r"[0-9]{1,12}",
    r"[A-Za-z0-9_-]{16,64}",
    r"[0-9a-f]{64}",
    r"[0-9a-f]{64}",
)


@dataclass(frozen=True, slots=True)
class Signed:
    """The headers of a signed request."""

    key_id: str
    timestamp: str
    """Seconds since 1970, in digits."""
    nonce: str
    """16 to 64 letters, digits, - or _, never used before with this key."""
    digest: str
    """What `digest_of` returns for the images."""
    signature: str
    """64 hexadecimal digits."""


def is_signed(headers: Mapping[str, str]) -> bool:
    """Tell whether a request means to be signed."""
    return any(name in headers for name in HEADERS)


def read_signed(headers: Mapping[str, str]) -> Signed | None:
    """Return the headers of a signed request; none where one is missing or malformed."""
    values = [headers.get(name, "") for name in HEADERS]
    if not all(re.fullmatch(shape, value) for shape, value in zip(_SHAPES, values, strict=True)):
        return None
    return Signed(*values)


def message(method: str, target: str, timestamp: str, nonce: str, digest: str) -> bytes:
    """Return what is signed: five lines, joined by line feeds, with none at the end.

    None of the parts can hold a line feed, so no two requests have the same message.
    """
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n{digest}".encode()


def sign(secret: str, signed_message: bytes) -> str:
    """Return the signature of a message: HMAC-SHA256 as 64 hexadecimal digits.

    Source: RFC 2104 (1997).
    """
    return hmac.digest(secret.encode(), signed_message, hashlib.sha256).hex()


def digest_of(images: Sequence[str]) -> str:
    """Return the digest that is signed for the images of a request.

    Args:
        images: SHA-256 of the bytes of each image part, in the order sent, 64 lower-case hexadecimal digits
            each. Where the body is no form (JSON), the whole body counts as the one image.

    Returns:
        Of one image, its own digest. Of none, the digest of nothing. Of several, the digest of their digests'
        digits written one after another: their fixed width leaves no doubt where an image ends.
    """
    if len(images) == 1:
        return images[0]
    return hashlib.sha256("".join(images).encode("ascii")).hexdigest()
