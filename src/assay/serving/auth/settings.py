"""Settings of authentication, rate-limit tiers and country lists."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from assay.recipe.base import Settings

Network = IPv4Network | IPv6Network


def default_keys_folder() -> Path:
    """Return the folder of keys: `ASSAY_KEYS`, else `assay` where this user's settings are."""
    if named := os.environ.get("ASSAY_KEYS"):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "assay"


def _check_country(code: str) -> str:
    if len(code) != 2 or not code.isascii() or not code.isalpha():
        raise ValueError(f"{code!r} is no country; give two letters as in DE, US, JP")
    return code.upper()


def _check_network(text: str) -> str:
    ip_network(text, strict=False)
    return text


Country = Annotated[str, AfterValidator(_check_country)]
"""Two letters of ISO 3166-1."""
Cidr = Annotated[str, AfterValidator(_check_network)]
"""An address or a block of addresses, as 10.0.0.0/8."""


class CountrySettings(Settings):
    """From where requests are taken, by the address of the client."""

    allow: tuple[Country, ...] = ()
    """Only these countries; empty: all."""
    deny: tuple[Country, ...] = ()
    """Not these countries."""
    unknown: Literal["allow", "deny"] | None = None
    """What becomes of addresses whose country is not known: private ones, loopback, IPv6. None: refused where
    there is an allow list, let in where there is not."""

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if self.allow and self.deny:
            raise ValueError("give an allow list or a deny list of countries, not both")
        return self


class AuthSettings(Settings):
    """Who may ask."""

    required: bool = True
    """Whether a key is needed. Without, everybody is `anonymous`; /admin then answers this machine only."""
    folder: Path = Field(default_factory=default_keys_folder)
    """Where keys.json and master.keys are, as `assay keys` writes them."""
    max_clock_skew: Annotated[int, Field(ge=1, le=3600)] = 300
    """How far the clock of a client that signs may be off, both ways."""
    max_failures_per_minute: Annotated[float, Field(gt=0)] = 30.0
    """Wrong keys an address may go on trying; more are answered 429 unread."""
    max_failures_burst: Annotated[int, Field(ge=1)] = 30
    """Wrong keys an address may try at once."""
    proxies: tuple[Cidr, ...] = ()
    """Proxies whose X-Forwarded-For is believed. The HTTP server itself must not rewrite addresses."""
    countries: CountrySettings = CountrySettings()
    """From where requests are taken."""


class Tier(Settings):
    """What a client of this tier is promised, and no more."""

    per_minute: Annotated[int, Field(ge=1, le=600_000)]
    """Requests a minute that may go on forever."""
    burst: Annotated[int, Field(ge=1)]
    """Requests that may come at once after a rest."""
    max_concurrent: Annotated[int, Field(ge=1)]
    """Requests being answered at the same time."""


TierName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
"""Lower-case letters, digits, - and _; it stands in headers and metrics."""
DEFAULT_TIERS: dict[TierName, Tier] = {
    "bronze": Tier(per_minute=60, burst=10, max_concurrent=4),
    "silver": Tier(per_minute=600, burst=50, max_concurrent=16),
    "gold": Tier(per_minute=6000, burst=200, max_concurrent=64),
}
"""The tiers there are unless the settings say otherwise."""


class RateLimitSettings(Settings):
    """How often clients may ask."""

    tiers: dict[TierName, Tier] = DEFAULT_TIERS
    """Tiers by name."""
    anonymous: str | None = None
    """Tier of each address where keys are off; none: no limit."""
    redis: SecretStr | None = None
    """Address of the Redis that workers and machines share, as redis://host:6379/0; none: every process
    counts by itself. Secret, since it may hold a password."""
    redis_timeout: Annotated[float, Field(gt=0, le=1)] = 0.04
    """How long a request waits for Redis before the process counts by itself."""
    retry_interval: Annotated[float, Field(gt=0)] = 1.0
    """How often a Redis that is away is looked for."""
    lease_timeout: Annotated[float, Field(ge=1)] = 120.0
    """After so long a request no longer counts as being answered: its worker has died."""

    @model_validator(mode="after")
    def _known_tier(self) -> Self:
        if self.anonymous is not None and self.anonymous not in self.tiers:
            raise ValueError(f"anonymous names the tier {self.anonymous}; there are {', '.join(self.tiers)}")
        return self
