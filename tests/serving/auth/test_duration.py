"""Spans of time as they are typed."""

import pytest

from assay.core.errors import UsageError
from assay.serving.auth.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90d", 7_776_000), ("12h", 43_200), ("30m", 1800), ("45s", 45), ("2w", 1_209_600), (" 1D ", 86_400)],
)
def test_spans(text: str, seconds: int):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "0d", "1y", "99999999w", "1d1h", "٣d"])
def test_what_is_no_span(text: str):
    with pytest.raises(UsageError, match="is no span of time"):
        parse_duration(text)
