"""What clients are told of their limit: the RateLimit headers, and the answer when it is reached.

Knows nothing of how requests are counted.

Source: IETF draft-ietf-httpapi-ratelimit-headers-10 (2025), "RateLimit header fields for HTTP". `q` requests
in `w` seconds go on forever; `r` would be taken at once now, and `t` seconds from now the whole burst would
be again.
"""

import math
from collections.abc import Mapping

from assay.serving.auth.base import Client, Refusal
from assay.serving.auth.limits import Verdict
from assay.serving.auth.settings import Tier

_WINDOW = 60


def strictest(tiers: Mapping[str, Tier]) -> str:
    """Return the tier with the fewest requests a minute: for a key whose own tier is not known."""
    return min(tiers, key=lambda name: tiers[name].per_minute)


def limit_headers(name: str, tier: Tier, verdict: Verdict) -> dict[str, str]:
    """Return RateLimit-Policy and RateLimit for an answer."""
    return {
        "RateLimit-Policy": f'"{name}";q={tier.per_minute};w={_WINDOW};assay-burst={tier.burst}',
        "RateLimit": f'"{name}";r={verdict.remaining};t={math.ceil(verdict.restored)}',
    }


def too_many(client: Client, tier: Tier, verdict: Verdict) -> Refusal:
    """Return the answer to a request that is one too many."""
    wait = str(max(1, math.ceil(verdict.wait)))
    headers = {**limit_headers(client.tier, tier, verdict), "Retry-After": wait}
    return Refusal(429, "Too many requests; try again later", headers, client)
