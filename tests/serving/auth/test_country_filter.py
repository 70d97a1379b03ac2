"""Allow and deny lists of countries, and addresses without a country."""

from typing import Any

import pytest
from pydantic import ValidationError

from assay.serving.auth import AccessDeniedError
from assay.serving.auth.country_filter import CountryFilter, load_country_lookup
from assay.serving.auth.settings import CountrySettings

_TABLE = {"198.51.100.1": "DE", "198.51.100.2": "US"}


def _served(address: str, **settings: Any) -> bool:
    try:
        CountryFilter(CountrySettings(**settings), lambda: _TABLE.get).check(address)
    except AccessDeniedError:
        return False
    return True


def test_denied_country_gets_403():
    with pytest.raises(AccessDeniedError, match="not offered where you are") as refused:
        CountryFilter(CountrySettings(deny=("DE",)), lambda: _TABLE.get).check("198.51.100.1")
    assert refused.value.status == 403


@pytest.mark.parametrize(
    ("settings", "germany", "america", "unknown"),
    [
        ({}, True, True, True),
        ({"allow": ["de"]}, True, False, False),
        ({"allow": ["DE"], "unknown": "allow"}, True, False, True),
        ({"deny": ["DE"]}, False, True, True),
        ({"deny": ["DE"], "unknown": "deny"}, False, True, False),
        ({"unknown": "deny"}, True, True, False),
    ],
    ids=["none", "allow", "allow-unknown", "deny", "deny-unknown", "unknown"],
)
def test_allow_and_deny_lists(settings: dict[str, Any], germany: bool, america: bool, unknown: bool):
    found = [_served(address, **settings) for address in ("198.51.100.1", "198.51.100.2", "192.0.2.1")]
    assert found == [germany, america, unknown]


def test_country_table_is_loaded_only_if_needed():
    CountryFilter(CountrySettings(), lambda: pytest.fail("loaded")).check("192.0.2.1")


def test_real_country_table():
    lookup = load_country_lookup()
    assert lookup("8.8.8.8") == "US"
    assert lookup("::ffff:8.8.8.8") == "US"
    unknown = [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "255.255.255.255",
        "2001:4860:4860::8888",
        "",
        "nowhere",
    ]
    assert [lookup(address) for address in unknown] == [None] * len(unknown)


@pytest.mark.parametrize("settings", [{"allow": ["Germany"]}, {"deny": ["1"]}, {"allow": ["DE"], "deny": ["US"]}])
def test_invalid_settings_raise(settings: dict[str, Any]):
    with pytest.raises(ValidationError):
        CountrySettings(**settings)
