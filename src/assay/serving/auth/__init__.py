"""Keys, signatures, tiers, rates and countries.

`make_gate` builds what decides who is let in, from `AuthSettings` and `LimitSettings`.
"""

from assay.serving.auth.base import ANONYMOUS, Admission, Asked, Client, Gate, Refusal
from assay.serving.auth.gate import make_gate
from assay.serving.auth.settings import AuthSettings, CountrySettings, LimitSettings, Tier
from assay.serving.auth.signed import digest_of

__all__ = [
    "ANONYMOUS",
    "Admission",
    "Asked",
    "AuthSettings",
    "Client",
    "CountrySettings",
    "Gate",
    "LimitSettings",
    "Refusal",
    "Tier",
    "digest_of",
    "make_gate",
]
