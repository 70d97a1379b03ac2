"""Authorizers with keys and fixed clocks, and requests as clients would send them."""

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
    """A clock that is set by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class AuthSetup:
    """Authorizers, their keys and clocks, and requests with credentials."""

    def __init__(self, folder: Path, telemetry: Any) -> None:
        self.folder, self.telemetry = folder, telemetry
        self.wall, self.monotonic = Clock(1_800_000_000.0), Clock(50.0)
        self.manager = KeyManager(folder, self.wall)
        self.manager.add_master_key()
        self.authorizers: list[RequestAuthorizer] = []
        self._nonce = 0

    def authorizer(self, limits: RateLimitSettings | None = None, **auth: Any) -> RequestAuthorizer:
        limits = limits or RateLimitSettings(tiers={"gold": WIDE})
        settings = AuthSettings(**{"folder": self.folder, **auth})
        authorizer = make_authorizer(settings, limits, self.telemetry, wall_clock=self.wall, monotonic=self.monotonic)
        self.authorizers.append(authorizer)
        return authorizer

    def key(self, tier: str = "gold", scopes: tuple[str, ...] = ("classify",), **more: Any) -> ApiKey:
        return self.manager.create("line 3", tier, scopes, **more)

    def request(self, headers: dict[str, str], **more: Any) -> AuthRequest:
        given = {"method": "POST", "target": "/classify", "peer": "192.0.2.1", "scope": "classify", **more}
        return AuthRequest(headers=headers, **given)

    def bearer(self, key: ApiKey, **more: Any) -> AuthRequest:
        return self.request({"authorization": f"Bearer {self.manager.token(key)}"}, **more)

    def signed(self, key: ApiKey, *, at: float = 0, nonce: str = "", digest: str = PHOTO, **more: Any) -> AuthRequest:
        """Sign a request `at` seconds from now."""
        self._nonce += 1
        nonce = nonce or f"nonce-number-{self._nonce:06}"
        time = str(int(self.wall.now + at))
        secret = self.manager.token(key).partition(".")[2]
        text = canonical_message("POST", more.get("target", "/classify"), time, nonce, digest)
        values = (key.id, time, nonce, digest, sign(secret, text))
        return self.request(dict(zip(SIGNATURE_HEADERS, values, strict=True)), **more)


@pytest.fixture
def auth_setup(tmp_path: Path, telemetry: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[AuthSetup]:
    """A setup with a master key and no API keys."""
    monkeypatch.delenv("ASSAY_MASTER_KEYS", raising=False)
    made = AuthSetup(tmp_path / "keys", telemetry)
    yield made
    for authorizer in made.authorizers:
        asyncio.run(authorizer.close())


@pytest.fixture
def clock() -> Clock:
    """A clock fixed at 50 s."""
    return Clock(50.0)


@pytest.fixture
def tier() -> Callable[..., Tier]:
    """Make a tier; by default 60 requests per minute, burst 3, 100 concurrent."""

    def make(per_minute: int = 60, burst: int = 3, max_concurrent: int = 100) -> Tier:
        return Tier(per_minute=per_minute, burst=burst, max_concurrent=max_concurrent)

    return make
