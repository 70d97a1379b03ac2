"""Durations and lifetimes as users write them."""

import pytest

from assay.core.duration import parse_duration, parse_lifetime
from assay.core.errors import UsageError


@pytest.mark.parametrize(("text", "seconds"), [("300ms", 0.3), ("0.5s", 0.5), ("2m", 120), ("1h", 3600), ("7", 7)])
def test_durations_are_parsed(text: str, seconds: float):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1e3", "25h", "1 2s", "٣s"])
def test_what_is_not_a_duration_is_refused(text: str):
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90d", 7_776_000), ("12h", 43_200), ("30m", 1800), ("45s", 45), ("2w", 1_209_600), (" 1D ", 86_400)],
)
def test_lifetimes_are_parsed(text: str, seconds: int):
    assert parse_lifetime(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "0d", "1y", "99999999w", "1d1h", "٣d"])
def test_what_is_not_a_lifetime_is_refused(text: str):
    with pytest.raises(UsageError, match="is not a duration"):
        parse_lifetime(text)
