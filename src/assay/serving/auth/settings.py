"""Settings of authentication, rate-limit tiers and country lists."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from assay.recipe.base import Settings, matches

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
"""An address or a block of addresses, such as 10.0.0.0/8."""


class CountrySettings(Settings):
    """Countries from which requests are accepted, by the client's address."""

    allow: tuple[Country, ...] = ()
    """Only these countries; empty: all."""
    deny: tuple[Country, ...] = ()
    """Not these countries."""
    unknown: Literal["allow", "deny"] | None = None
    """Whether addresses of unknown country (private, loopback, IPv6) are allowed. None: denied if there is an allow
    list, else allowed.
    """

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if self.allow and self.deny:
            raise ValueError("give an allow list or a deny list of countries, not both")
        return self


class AuthSettings(Settings):
    """Authentication of clients."""

    required: bool = True
    """Whether a key is required. If not, every client is `anonymous`, and /admin responds to this machine only."""
    folder: Path = Field(default_factory=default_keys_folder)
    """Folder of keys.json and master.keys, as written by `assay keys`."""
    max_clock_skew: Annotated[int, Field(ge=1, le=3600)] = 300
    """Maximum difference in seconds between the clocks of a signing client and the server, in both directions."""
    max_failures_per_minute: Annotated[float, Field(gt=0)] = 30.0
    """Sustained rate of wrong keys per address; above it, requests get 429 before their key is checked."""
    max_failures_burst: Annotated[int, Field(ge=1)] = 30
    """Wrong keys that an address may send at once."""
    proxies: tuple[Cidr, ...] = ()
    """Proxies whose X-Forwarded-For is trusted. The HTTP server itself must not rewrite addresses."""
    countries: CountrySettings = CountrySettings()
    """Countries from which requests are accepted."""


class Tier(Settings):
    """Limits of the clients in one tier."""

    per_minute: Annotated[int, Field(ge=1, le=600_000)]
    """Sustained requests per minute."""
    burst: Annotated[int, Field(ge=1)]
    """Requests allowed at once after an idle period."""
    max_concurrent: Annotated[int, Field(ge=1)]
    """Maximum number of concurrent requests."""


TierName = Annotated[
    str, matches("[a-z][a-z0-9_-]{0,31}", "must be lower-case letters, digits, - and _, and start with a letter")
]
"""Lower-case letters, digits, - and _; used in headers and metrics."""
DEFAULT_TIERS: dict[TierName, Tier] = {
    "bronze": Tier(per_minute=60, burst=10, max_concurrent=4),
    "silver": Tier(per_minute=600, burst=50, max_concurrent=16),
    "gold": Tier(per_minute=6000, burst=200, max_concurrent=64),
}
"""Default tiers."""


class RateLimitSettings(Settings):
    """Rate limits of clients."""

    tiers: dict[TierName, Tier] = DEFAULT_TIERS
    """Tiers by name."""
    anonymous: str | None = None
    """Tier of each address if keys are disabled; None: no limit."""
    redis: SecretStr | None = None
    """URL of the Redis shared by workers and machines, such as redis://host:6379/0; None: every process counts
    separately. Secret, since it may contain a password.
    """
    redis_timeout: Annotated[float, Field(gt=0, le=1)] = 0.04
    """Seconds that a request waits for Redis before the process counts by itself."""
    retry_interval: Annotated[float, Field(gt=0)] = 1.0
    """Seconds between attempts to reconnect to Redis."""
    lease_timeout: Annotated[float, Field(ge=1)] = 120.0
    """Seconds after which a request no longer counts as in progress, in case its worker has crashed."""

    @model_validator(mode="after")
    def _known_tier(self) -> Self:
        if self.anonymous is not None and self.anonymous not in self.tiers:
            raise ValueError(f"anonymous names the tier {self.anonymous}; there are {', '.join(self.tiers)}")
        return self
