import pytest

from assay.core.duration import parse_duration
from assay.core.errors import UsageError


@pytest.mark.parametrize(("text", "seconds"), [("300ms", 0.3), ("0.5s", 0.5), ("2m", 120), ("1h", 3600), ("7", 7)])
def test_spans_are_read(text: str, seconds: float):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1e3", "25h", "1 2s", "٣s"])
def test_what_is_no_span_is_refused(text: str):
    with pytest.raises(UsageError, match="no span"):
        parse_duration(text)
