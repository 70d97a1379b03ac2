"""Parse durations such as 300ms, 30s, 12h or 90d."""

import re

from assay.core.errors import UsageError

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Return the seconds of a span such as 300ms, 0.5s, 2m or 1h; a bare number counts seconds.

    Raises:
        UsageError: it is no span, or longer than a day.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)\s*(ms|s|m|h)?", text.strip().lower(), re.ASCII)
    seconds = float(found[1]) * _SECONDS[found[2] or "s"] if found else -1.0
    if not 0 <= seconds <= 86_400:
        raise UsageError(f"{text!r} is no span of time; give a number and ms, s, m or h, as in 0.5s")
    return seconds
