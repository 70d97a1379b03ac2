"""Verify bearer keys and HMAC-signed requests, and throttle addresses that send wrong keys.

Unknown, wrong, revoked and expired keys get the same response, after the same derivation and comparison in constant
time, so that key ids cannot be probed. A signature covers method, path with query, time, nonce and the digest of the
images, but not the host, other headers and other form fields. A forged request is rejected before its body is read.
A bearer key is only as safe as its transport: over plain HTTP, anyone on the path can read and use it.
"""

import hashlib
import hmac
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from assay.serving.auth import AccessDeniedError, AuthRequest
from assay.serving.auth.client_ip import client_subnet
from assay.serving.auth.keys import ApiKey, ApiKeys
from assay.serving.auth.master_keys import MasterKeys
from assay.serving.auth.nonces import NonceStore
from assay.serving.auth.rate_limits import Rate, to_microseconds

_MAX_ADDRESSES = 10_000


class AuthThrottle:
    """Limits failed attempts of each address (IPv6: /64); the address with the oldest failure is evicted first."""

    def __init__(self, rate: Rate, clock: Callable[[], float], max_addresses: int = _MAX_ADDRESSES) -> None:
        """`rate` is the rate of allowed failures; `clock` returns monotonic seconds."""
        self._rate, self._clock, self._max_addresses = rate, clock, max_addresses
        self._arrivals: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._arrivals)

    def check(self, address: str) -> None:
        """Raise `AccessDeniedError` (429) if the address has failed too often."""
        if not self._arrivals:
            return
        ahead = self._ahead(client_subnet(address))
        if not self._rate.allows(ahead):
            wait = max(1, math.ceil(self._rate.wait(ahead)))
            raise AccessDeniedError(429, "Too many failed requests; try again later", {"Retry-After": str(wait)})

    def record_failure(self, address: str) -> None:
        """Count a failure."""
        subnet = client_subnet(address)
        self._arrivals[subnet] = to_microseconds(self._clock()) + self._ahead(subnet) + self._rate.interval
        self._arrivals.move_to_end(subnet)
        if len(self._arrivals) > self._max_addresses:
            self._arrivals.popitem(last=False)

    def _ahead(self, subnet: str) -> int:
        now = to_microseconds(self._clock())
        return self._rate.ahead(self._arrivals.get(subnet, now), now)


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
    """Whether a request has any header of a signature."""
    return any(name in headers for name in SIGNATURE_HEADERS)


def parse_signature_headers(headers: Mapping[str, str]) -> SignatureHeaders | None:
    """Return the headers of a signed request; None if one is missing or malformed."""
    values = [headers.get(name, "") for name in SIGNATURE_HEADERS]
    if not all(re.fullmatch(pattern, value) for pattern, value in zip(_HEADER_PATTERNS, values, strict=True)):
        return None
    return SignatureHeaders(*values)


def canonical_message(method: str, target: str, timestamp: str, nonce: str, digest: str) -> bytes:
    """Return the signed message: five lines joined by line feeds, which none of the parts can contain."""
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n{digest}".encode()


def sign(secret: str, signed_message: bytes) -> str:
    """Return the signature of a message: HMAC-SHA256 as 64 hexadecimal digits.

    Source: RFC 2104 (1997).
    """
    return hmac.digest(secret.encode(), signed_message, hashlib.sha256).hex()


def content_digest(images: Sequence[str]) -> str:
    """Return the digest that is signed for the images of a request.

    `images` are the SHA-256 of each image part in the order sent, as lower-case hexadecimal digits. A body that is
    not a form (JSON) counts as one image. The digest of one image is its own; of none, that of no bytes; of
    several, that of their concatenated hexadecimal digests.
    """
    if len(images) == 1:
        return images[0]
    return hashlib.sha256("".join(images).encode("ascii")).hexdigest()


_BEARER = re.compile(r"bearer +(ak_[a-z0-9]{16})\.([A-Za-z0-9_-]{43})", re.IGNORECASE)
_UNKNOWN_KEY_ID = "ak_nobody"
"""Not a valid id; a secret is derived for it if there is no such key."""


def unauthorized() -> AccessDeniedError:
    """Return the error for every request without a valid key."""
    return AccessDeniedError(401, "A valid key is needed", {"WWW-Authenticate": 'Bearer realm="assay"'})


@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """The key that a request was verified with."""

    key: ApiKey
    digest: str | None
    """The signed digest of its images; None if the request is not signed."""
    denial: AccessDeniedError | None = None
    """Set if the request is denied nevertheless: the key has expired, or has used too many nonces."""


class Authenticator:
    """Verifies the keys of requests."""

    def __init__(
        self,
        keys: Callable[[], ApiKeys],
        master_keys: Callable[[], MasterKeys],
        nonces: NonceStore,
        *,
        max_clock_skew: int,
        wall_clock: Callable[[], float],
    ) -> None:
        """`max_clock_skew` is in seconds; `wall_clock` returns seconds since 1970."""
        self._keys, self._master_keys, self._nonces = keys, master_keys, nonces
        self._skew, self._wall_clock = max_clock_skew, wall_clock

    async def check(self, request: AuthRequest) -> VerifiedKey | None:
        """Return the verified key of a request, or None.

        An expired key is verified by its secret, a revoked one is not, as it may have been stolen. A signed request
        that is outdated or whose nonce was used before may have been captured, and is not verified either.
        """
        authorization = request.headers.get("authorization")
        if not is_signed(request.headers):
            return self._bearer(authorization or "")
        signed = parse_signature_headers(request.headers)
        # With both a bearer key and a signature it is ambiguous which one counts.
        return None if signed is None or authorization is not None else await self._signed(request, signed)

    def _bearer(self, authorization: str) -> VerifiedKey | None:
        found = _BEARER.fullmatch(authorization)
        key_id, given = (found[1], found[2]) if found else (_UNKNOWN_KEY_ID, "")
        key, secret = self._secret(key_id)
        valid = hmac.compare_digest(given.encode(), secret.encode())
        return VerifiedKey(key, None, self._expired(key)) if key is not None and valid else None

    async def _signed(self, request: AuthRequest, signed: SignatureHeaders) -> VerifiedKey | None:
        key, secret = self._secret(signed.key_id)
        text = canonical_message(request.method, request.target, signed.timestamp, signed.nonce, signed.digest)
        valid = hmac.compare_digest(signed.signature, sign(secret, text))
        in_time = abs(self._wall_clock() - int(signed.timestamp)) <= self._skew
        if key is None or not valid or not in_time:
            return None
        # Last: only a valid signature consumes its nonce.
        try:
            new = await self._nonces.add(key.id, signed.nonce)
        except AccessDeniedError as denial:
            return VerifiedKey(key, signed.digest, denial)
        return VerifiedKey(key, signed.digest, self._expired(key)) if new else None

    def _expired(self, key: ApiKey) -> AccessDeniedError | None:
        return unauthorized() if key.state(self._wall_clock()) == "expired" else None

    def _secret(self, key_id: str) -> tuple[ApiKey | None, str]:
        """Return the key of an id, None if unknown or revoked, and a secret; always with the same work."""
        master_keys, key = self._master_keys(), self._keys().get(key_id)
        if key is not None and key.version not in master_keys:
            key = None
        version, name = (master_keys.newest, _UNKNOWN_KEY_ID) if key is None else (key.version, key.id)
        secret = master_keys.secret(version, name)
        return (key if key is not None and key.state(self._wall_clock()) != "revoked" else None), secret
