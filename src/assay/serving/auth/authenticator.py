"""Verify bearer keys and HMAC-signed requests, and throttle addresses that send wrong keys."""

import hashlib
import hmac
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from assay.serving.auth.client_ip import client_subnet
from assay.serving.auth.interfaces import AccessDeniedError, AuthRequest
from assay.serving.auth.keys import ApiKey, ApiKeys
from assay.serving.auth.master_keys import MasterKeys
from assay.serving.auth.nonces import NonceStore
from assay.serving.auth.rate_limits import Rate, to_microseconds

_MAX_ADDRESSES = 10_000


class AuthThrottle:
    """Counts failures by address; IPv6 by /64."""

    def __init__(self, rate: Rate, clock: Callable[[], float], most: int = _MAX_ADDRESSES) -> None:
        """Start with every address innocent.

        Args:
            rate: failures that an address may go on having.
            clock: seconds that never go back.
            most: addresses that are remembered.
        """
        self._rate, self._clock, self._most = rate, clock, most
        self._arrivals: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._arrivals)

    def check(self, address: str) -> None:
        """Let an address pass.

        Raises:
            Refusal: 429, it has failed too often of late.
        """
        if not self._arrivals:
            return
        ahead = self._ahead(client_subnet(address))
        if not self._rate.takes(ahead):
            wait = max(1, math.ceil(self._rate.wait(ahead)))
            raise AccessDeniedError(429, "Too many failed requests; try again later", {"Retry-After": str(wait)})

    def failed(self, address: str) -> None:
        """Count a failure."""
        group = client_subnet(address)
        self._arrivals[group] = to_microseconds(self._clock()) + self._ahead(group) + self._rate.interval
        self._arrivals.move_to_end(group)
        if len(self._arrivals) > self._most:
            self._arrivals.popitem(last=False)

    def _ahead(self, group: str) -> int:
        now = to_microseconds(self._clock())
        return self._rate.ahead(self._arrivals.get(group, now), now)


KEY_HEADER = "x-assay-key"
TIMESTAMP_HEADER = "x-assay-timestamp"
NONCE_HEADER = "x-assay-nonce"
DIGEST_HEADER = "x-assay-content-sha256"
SIGNATURE_HEADER = "x-assay-signature"
SIGNATURE_HEADERS = (KEY_HEADER, TIMESTAMP_HEADER, NONCE_HEADER, DIGEST_HEADER, SIGNATURE_HEADER)
_HEADER_PATTERNS = (
    r"ak_[a-z0-9]{16}",
    r"[0-9]{1,12}",
    r"[A-Za-z0-9_-]{16,64}",
    r"[0-9a-f]{64}",
    r"[0-9a-f]{64}",
)


@dataclass(frozen=True, slots=True)
class SignatureHeaders:
    """The headers of a signed request."""

    key_id: str
    timestamp: str
    """Seconds since 1970, in digits."""
    nonce: str
    """16 to 64 letters, digits, - or _, never used before with this key."""
    digest: str
    """What `content_digest` returns for the images."""
    signature: str
    """64 hexadecimal digits."""


def is_signed(headers: Mapping[str, str]) -> bool:
    """Tell whether a request means to be signed."""
    return any(name in headers for name in SIGNATURE_HEADERS)


def parse_signature_headers(headers: Mapping[str, str]) -> SignatureHeaders | None:
    """Return the headers of a signed request; none where one is missing or malformed."""
    values = [headers.get(name, "") for name in SIGNATURE_HEADERS]
    if not all(re.fullmatch(shape, value) for shape, value in zip(_HEADER_PATTERNS, values, strict=True)):
        return None
    return SignatureHeaders(*values)


def canonical_message(method: str, target: str, timestamp: str, nonce: str, digest: str) -> bytes:
    """Return what is signed: five lines, joined by line feeds, with none at the end.

    None of the parts can hold a line feed, so no two requests have the same message.
    """
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n{digest}".encode()


def sign(secret: str, signed_message: bytes) -> str:
    """Return the signature of a message: HMAC-SHA256 as 64 hexadecimal digits.

    Source: RFC 2104 (1997).
    """
    return hmac.digest(secret.encode(), signed_message, hashlib.sha256).hex()


def content_digest(images: Sequence[str]) -> str:
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


_BEARER = re.compile(r"bearer +(ak_[a-z0-9]{16})\.([A-Za-z0-9_-]{43})", re.IGNORECASE)
_UNKNOWN_KEY_ID = "ak_nobody"
"""What the secret is derived for when there is no such key; no key can be called so."""


def unauthorized() -> AccessDeniedError:
    """Return the one answer to every request without a valid key."""
    return AccessDeniedError(401, "A valid key is needed", {"WWW-Authenticate": 'Bearer realm="assay"'})


@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """A request that proves which key it was sent with."""

    key: ApiKey
    digest: str | None
    """The signed digest of its images; none where the request is not signed."""
    refusal: AccessDeniedError | None = None
    """Why it is refused all the same: the key has expired, or has used too many nonces."""


class Authenticator:
    """Checks keys."""

    def __init__(
        self,
        keys: Callable[[], ApiKeys],
        ring: Callable[[], MasterKeys],
        nonces: NonceStore,
        *,
        max_clock_skew: int,
        wall: Callable[[], float],
    ) -> None:
        """Take where keys and masters are found now.

        Args:
            keys: the key store.
            ring: the master ring.
            nonces: those that were used.
            max_clock_skew: how far a client's clock may be off.
            wall: seconds since 1970.
        """
        self._keys, self._ring, self._nonces = keys, ring, nonces
        self._skew, self._wall = max_clock_skew, wall

    async def check(self, asked: AuthRequest) -> VerifiedKey | None:
        """Return the key that a request proves, or None.

        An expired key is proven by its secret. A revoked one is not: it may be revoked because somebody else
        has it. Neither is the key of a signed request that is out of time or whose nonce was used before: it
        may have been captured.
        """
        authorization = asked.headers.get("authorization")
        if not is_signed(asked.headers):
            return self._bearer(authorization or "")
        signed = parse_signature_headers(asked.headers)
        # Two ways at once leave open which of them was meant.
        return None if signed is None or authorization is not None else await self._signed(asked, signed)

    def _bearer(self, authorization: str) -> VerifiedKey | None:
        found = _BEARER.fullmatch(authorization)
        key_id, given = (found[1], found[2]) if found else (_UNKNOWN_KEY_ID, "")
        key, secret = self._secret(key_id)
        right = hmac.compare_digest(given.encode(), secret.encode())
        return VerifiedKey(key, None, self._expired(key)) if key is not None and right else None

    async def _signed(self, asked: AuthRequest, signed: SignatureHeaders) -> VerifiedKey | None:
        key, secret = self._secret(signed.key_id)
        text = canonical_message(asked.method, asked.target, signed.timestamp, signed.nonce, signed.digest)
        right = hmac.compare_digest(signed.signature, sign(secret, text))
        in_time = abs(self._wall() - int(signed.timestamp)) <= self._skew
        if key is None or not right or not in_time:
            return None
        # Last: only a right signature uses up its nonce.
        try:
            new = await self._nonces.is_new(key.id, signed.nonce)
        except AccessDeniedError as refusal:
            return VerifiedKey(key, signed.digest, refusal)
        return VerifiedKey(key, signed.digest, self._expired(key)) if new else None

    def _expired(self, key: ApiKey) -> AccessDeniedError | None:
        return unauthorized() if key.state(self._wall()) == "expired" else None

    def _secret(self, key_id: str) -> tuple[ApiKey | None, str]:
        """Return the key of an id unless it is revoked, and a secret; the work is the same either way."""
        ring, key = self._ring(), self._keys().get(key_id)
        if key is not None and key.version not in ring:
            key = None
        version, name = (ring.newest, _UNKNOWN_KEY_ID) if key is None else (key.version, key.id)
        secret = ring.secret(version, name)
        return (key if key is not None and key.state(self._wall()) != "revoked" else None), secret
