"""Whether the headers of a request show a key that is valid now.

Knows nothing of limits. What is guarded against: guessed and altered secrets (256 bits, compared in constant
time), probing for key ids and for the reason of a refusal (an unknown id costs the same derivation and
comparison, and every failure looks alike), captured requests (time and nonce of signed ones), keys that were
revoked or have ended. A bearer key is as safe as the way it travels: over plain HTTP everybody on the way can
read and use it.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass

from assay.serving.auth.base import Asked, Refusal
from assay.serving.auth.keys import Key, Keys
from assay.serving.auth.nonces import Nonces
from assay.serving.auth.ring import Ring
from assay.serving.auth.signed import Signed, is_signed, message, read_signed, sign

_BEARER = re.compile(r"bearer +(ak_[a-z0-9]{16})\.([A-Za-z0-9_-]{43})", re.IGNORECASE)
_NOBODY = "ak_nobody"
"""What the secret is derived for when there is no such key; no key can be called so."""


def unauthorized() -> Refusal:
    """Return the one answer to every request without a valid key."""
    return Refusal(401, "A valid key is needed", {"WWW-Authenticate": 'Bearer realm="assay"'})


@dataclass(frozen=True, slots=True)
class Proof:
    """A request that proves which key it was sent with."""

    key: Key
    digest: str | None
    """The signed digest of its images; none where the request is not signed."""
    refusal: Refusal | None = None
    """Why it is refused all the same: the key has expired, or has used too many nonces."""


class Authenticator:
    """Checks keys."""

    def __init__(
        self,
        keys: Callable[[], Keys],
        ring: Callable[[], Ring],
        nonces: Nonces,
        *,
        skew_seconds: int,
        wall: Callable[[], float],
    ) -> None:
        """Take where keys and masters are found now.

        Args:
            keys: the key store.
            ring: the master ring.
            nonces: those that were used.
            skew_seconds: how far a client's clock may be off.
            wall: seconds since 1970.
        """
        self._keys, self._ring, self._nonces = keys, ring, nonces
        self._skew, self._wall = skew_seconds, wall

    async def check(self, asked: Asked) -> Proof | None:
        """Return the key that a request proves, or None.

        An expired key is proven by its secret. A revoked one is not: it may be revoked because somebody else
        has it. Neither is the key of a signed request that is out of time or whose nonce was used before: it
        may have been captured.
        """
        authorization = asked.headers.get("authorization")
        if not is_signed(asked.headers):
            return self._bearer(authorization or "")
        signed = read_signed(asked.headers)
        # Two ways at once leave open which of them was meant.
        return None if signed is None or authorization is not None else await self._signed(asked, signed)

    def _bearer(self, authorization: str) -> Proof | None:
        found = _BEARER.fullmatch(authorization)
        key_id, given = (found[1], found[2]) if found else (_NOBODY, "")
        key, secret = self._secret(key_id)
        right = hmac.compare_digest(given.encode(), secret.encode())
        return Proof(key, None, self._expired(key)) if key is not None and right else None

    async def _signed(self, asked: Asked, signed: Signed) -> Proof | None:
        key, secret = self._secret(signed.key_id)
        text = message(asked.method, asked.target, signed.timestamp, signed.nonce, signed.digest)
        right = hmac.compare_digest(signed.signature, sign(secret, text))
        in_time = abs(self._wall() - int(signed.timestamp)) <= self._skew
        if key is None or not right or not in_time:
            return None
        # Last: only a right signature uses up its nonce.
        try:
            new = await self._nonces.is_new(key.id, signed.nonce)
        except Refusal as refusal:
            return Proof(key, signed.digest, refusal)
        return Proof(key, signed.digest, self._expired(key)) if new else None

    def _expired(self, key: Key) -> Refusal | None:
        return unauthorized() if key.state(self._wall()) == "expired" else None

    def _secret(self, key_id: str) -> tuple[Key | None, str]:
        """Return the key of an id unless it is revoked, and a secret; the work is the same either way."""
        ring, key = self._ring(), self._keys().get(key_id)
        if key is not None and key.version not in ring:
            key = None
        version, name = (ring.newest, _NOBODY) if key is None else (key.version, key.id)
        secret = ring.secret(version, name)
        return (key if key is not None and key.state(self._wall()) != "revoked" else None), secret
