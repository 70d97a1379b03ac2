"""The gate: country, past failures, key, scope, rate, in this order, and none of the body read.

Knows nothing of HTTP servers or photos. `make_gate` builds it from settings; a worker makes its own, in its
own event loop. Cheap checks come first, so that what a stranger can make the server do stays small.
"""

import hmac
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from assay.serving.auth.addresses import client_address, group_of, networks, parse_address
from assay.serving.auth.authenticate import Authenticator, unauthorized
from assay.serving.auth.base import ANONYMOUS, Admission, Asked, Client, Refusal
from assay.serving.auth.countries import Countries
from assay.serving.auth.gcra import Rate
from assay.serving.auth.keys import STORE_FILE, read_keys
from assay.serving.auth.limits import Limiter
from assay.serving.auth.origins import from_own_page, names_this_machine
from assay.serving.auth.penalties import Penalties
from assay.serving.auth.ring import RING_FILE, read_ring
from assay.serving.auth.settings import AuthSettings, LimitSettings, Tier
from assay.serving.auth.stores import Stores, open_stores
from assay.serving.auth.tiers import limit_headers, strictest, too_many
from assay.serving.auth.watched import Watched
from assay.serving.watching.base import Watcher

_OPEN = frozenset({"classify", "metrics"})


@dataclass(frozen=True, slots=True)
class _Admission:
    """A request that was let in (`Admission`)."""

    client: Client
    address: str
    headers: Mapping[str, str]
    digest: str | None
    failed: Callable[[], None]
    limiter: Limiter | None
    place: tuple[str, str]

    @property
    def signed(self) -> bool:
        return self.digest is not None

    def check_body(self, sha256: str) -> None:
        if self.digest is not None and not hmac.compare_digest(self.digest, sha256):
            self.failed()
            raise unauthorized()

    async def release(self) -> None:
        if self.limiter is not None:
            await self.limiter.give_back(*self.place)


class AddressGate:
    """Decides who is let in, by address, key and rate (`Gate`)."""

    def __init__(
        self,
        auth: AuthSettings,
        limits: LimitSettings,
        watcher: Watcher,
        stores: Stores,
        *,
        authenticator: Authenticator | None,
        steady: Callable[[], float],
    ) -> None:
        """Join the parts.

        Args:
            auth: who may ask.
            limits: how often.
            watcher: told who is turned away.
            stores: where requests are counted.
            authenticator: checks keys; none: no key is needed.
            steady: seconds that never go back.
        """
        self._trusted = networks(auth.proxies)
        self._countries = Countries(auth.countries)
        self._penalties = Penalties(Rate.per_minute(auth.failures_a_minute, auth.failures_burst), steady)
        self._authenticator, self._stores, self._limits, self._watcher = (
            authenticator,
            stores,
            limits,
            watcher,
        )

    async def admit(self, asked: Asked) -> Admission:
        """Authenticate, then limit (`Gate.admit`)."""
        address = client_address(asked.peer, asked.headers.get("x-forwarded-for"), self._trusted)
        with _Counted(self._watcher, "country"):
            self._countries.check(address)
        with _Counted(self._watcher, "auth"):
            self._penalties.check(address)
            client, digest = await self._identify(asked, address)
            if asked.scope not in client.scopes:
                raise Refusal(403, f"This needs the scope {asked.scope}", client=client)
        with _Counted(self._watcher, "limit"):
            return await self._limit(client, address, digest)

    async def close(self) -> None:
        """Let go of connections."""
        await self._stores.close()

    async def _identify(self, asked: Asked, address: str) -> tuple[Client, str | None]:
        if self._authenticator is None:
            local = asked.scope not in _OPEN and _from_here(asked, address)
            scopes = _OPEN | {"admin"} if local else _OPEN
            return Client(ANONYMOUS, None, self._limits.anonymous or ANONYMOUS, scopes), None
        proof = await self._authenticator.check(asked)
        if proof is None:
            self._penalties.failed(address)
            raise unauthorized()
        key = proof.key
        tier = key.tier if key.tier in self._limits.tiers else strictest(self._limits.tiers)
        client = Client(key.client, key.id, tier, frozenset(key.scopes))
        if proof.refusal is not None:
            if proof.refusal.status == unauthorized().status:
                self._penalties.failed(address)
            proof.refusal.client = client
            raise proof.refusal
        return client, proof.digest

    async def _limit(self, client: Client, address: str, digest: str | None) -> Admission:
        def failed() -> None:
            self._penalties.failed(address)
            self._watcher.rejected("auth")

        tier: Tier | None = self._limits.tiers.get(client.tier)
        if tier is None:
            return _Admission(client, address, {}, digest, failed, None, ("", ""))
        place = client.key_id or group_of(address), uuid.uuid4().hex
        found = await self._stores.limiter.take(place[0], tier, place[1])
        if not found.taken:
            raise too_many(client, tier, found)
        headers = limit_headers(client.tier, tier, found)
        return _Admission(client, address, headers, digest, failed, self._stores.limiter, place)


def make_gate(
    auth: AuthSettings,
    limits: LimitSettings,
    watcher: Watcher,
    *,
    wall: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
) -> AddressGate:
    """Build the gate from its settings. It is used and closed in one event loop.

    Args:
        auth: who may ask.
        limits: how often.
        watcher: told who is turned away, and when Redis is away.
        wall: seconds since 1970.
        steady: seconds that never go back.

    Raises:
        AssayError: keys are required and their files are missing, malformed or open to others.
    """
    keys = Watched(auth.folder / STORE_FILE, read_keys, steady) if auth.required else None
    ring = Watched(auth.folder / RING_FILE, read_ring, steady) if auth.required else None
    remember = 2 * auth.skew_seconds + 1
    stores = open_stores(
        limits, watcher, folder=auth.folder, nonce_seconds=remember, steady=steady, wall=wall
    )
    authenticator = None
    if keys is not None and ring is not None:
        skew = auth.skew_seconds
        authenticator = Authenticator(keys.value, ring.value, stores.nonces, skew_seconds=skew, wall=wall)
    return AddressGate(auth, limits, watcher, stores, authenticator=authenticator, steady=steady)


class _Counted:
    """Tells the watcher of a refusal within the block."""

    def __init__(self, watcher: Watcher, reason: str) -> None:
        self._watcher, self._reason = watcher, reason

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Refusal):
            self._watcher.rejected(self._reason)


def _from_here(asked: Asked, address: str) -> bool:
    """Tell whether a request without a key comes from this machine, and from no page but the server's own."""
    parsed = parse_address(address)
    passed_on = any(name in asked.headers for name in ("x-forwarded-for", "forwarded"))
    here = names_this_machine(asked.headers.get("host") or "localhost") and from_own_page(asked.headers)
    return parsed is not None and parsed.is_loopback and here and not passed_on
