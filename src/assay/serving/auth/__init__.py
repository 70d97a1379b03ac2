"""Decide whether a request may proceed: API keys, signed requests, rate limits, countries.

Browser origins.
"""

from assay.serving.auth.authenticator import content_digest
from assay.serving.auth.authorizer import make_authorizer
from assay.serving.auth.interfaces import ANONYMOUS, AccessDeniedError, Authorization, Authorizer, AuthRequest, Client
from assay.serving.auth.settings import AuthSettings, CountrySettings, RateLimitSettings, Tier

__all__ = [
    "ANONYMOUS",
    "AccessDeniedError",
    "AuthRequest",
    "AuthSettings",
    "Authorization",
    "Authorizer",
    "Client",
    "CountrySettings",
    "RateLimitSettings",
    "Tier",
    "content_digest",
    "make_authorizer",
]
