"""A gate with keys, clocks that stand still, and requests as clients would send them."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.serving.auth import AuthRequest
from assay.serving.auth.authenticator import SIGNATURE_HEADERS, canonical_message, sign
from assay.serving.auth.authorizer import RequestAuthorizer, make_authorizer
from assay.serving.auth.keys import ApiKey, KeyManager
from assay.serving.auth.settings import AuthSettings, RateLimitSettings, Tier

PHOTO = hashlib.sha256(b"photo").hexdigest()
WIDE = Tier(per_minute=600_000, burst=100_000, max_concurrent=100_000)


class Clock:
    """Time that passes when told to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Entrance:
    """A gate, the keys to it, and requests that come to it."""

    def __init__(self, folder: Path, watcher: Any) -> None:
        self.folder, self.watcher = folder, watcher
        self.wall, self.steady = Clock(1_800_000_000.0), Clock(50.0)
        self.desk = KeyManager(folder, self.wall)
        self.desk.add_master_key()
        self.gates: list[RequestAuthorizer] = []
        self._nonce = 0

    def gate(self, limits: RateLimitSettings | None = None, **auth: Any) -> RequestAuthorizer:
        limits = limits or RateLimitSettings(tiers={"gold": WIDE})
        settings = AuthSettings(**{"folder": self.folder, **auth})
        gate = make_authorizer(settings, limits, self.watcher, wall_clock=self.wall, monotonic=self.steady)
        self.gates.append(gate)
        return gate

    def key(self, tier: str = "gold", scopes: tuple[str, ...] = ("classify",), **more: Any) -> ApiKey:
        return self.desk.create("line 3", tier, scopes, **more)

    def asked(self, headers: dict[str, str], **more: Any) -> AuthRequest:
        given = {"method": "POST", "target": "/classify", "peer": "192.0.2.1", "scope": "classify", **more}
        return AuthRequest(headers=headers, **given)

    def bearer(self, key: ApiKey, **more: Any) -> AuthRequest:
        return self.asked({"authorization": f"Bearer {self.desk.token(key)}"}, **more)

    def signed(self, key: ApiKey, *, at: float = 0, nonce: str = "", digest: str = PHOTO, **more: Any) -> AuthRequest:
        """Sign a request `at` seconds from now."""
        self._nonce += 1
        nonce = nonce or f"nonce-number-{self._nonce:06}"
        time = str(int(self.wall.now + at))
        secret = self.desk.token(key).partition(".")[2]
        text = canonical_message("POST", more.get("target", "/classify"), time, nonce, digest)
        values = (key.id, time, nonce, digest, sign(secret, text))
        return self.asked(dict(zip(SIGNATURE_HEADERS, values, strict=True)), **more)


@pytest.fixture
def entrance(tmp_path: Path, heard: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entrance]:
    """A folder with a master ring and no keys, and what comes to it."""
    monkeypatch.delenv("ASSAY_MASTER_KEYS", raising=False)
    made = Entrance(tmp_path / "keys", heard)
    yield made
    for gate in made.gates:
        asyncio.run(gate.close())


@pytest.fixture
def clock() -> Clock:
    """Time that stands still at 50 s."""
    return Clock(50.0)


@pytest.fixture
def tier() -> Callable[..., Tier]:
    """Make a tier: 60 a minute, burst 3, 100 at a time, unless told otherwise."""

    def make(per_minute: int = 60, burst: int = 3, max_concurrent: int = 100) -> Tier:
        return Tier(per_minute=per_minute, burst=burst, max_concurrent=max_concurrent)

    return make
