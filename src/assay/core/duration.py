"""Parse durations such as 300ms, 30s or 12h, and lifetimes in days or weeks such as 90d."""

import re

from assay.core.errors import UsageError

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*(ms|s|m|h)?", re.ASCII)
_LIFETIME = re.compile(r"(\d{1,9})(s|m|h|d|w)", re.ASCII)
_MAX_DURATION, _MAX_LIFETIME = 86_400, 36_525 * 86_400


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as 300ms, 0.5s, 2m or 1h; a bare number is seconds.

    Raises `UsageError` if it is invalid or longer than a day.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    seconds = float(found[1]) * _SECONDS[found[2] or "s"] if found else -1.0
    if not 0 <= seconds <= _MAX_DURATION:
        raise UsageError(f"{text!r} is not a duration: give a number and ms, s, m or h, e.g. 0.5s")
    return seconds


def parse_lifetime(text: str) -> int:
    """Return the seconds of a lifetime such as 90d, 12h, 30m, 45s or 2w; the unit is required.

    Raises `UsageError` if it is invalid, zero, or longer than a hundred years.
    """
    found = _LIFETIME.fullmatch(text.strip().lower())
    seconds = int(found[1]) * int(_SECONDS[found[2]]) if found else 0
    if not 0 < seconds <= _MAX_LIFETIME:
        raise UsageError(f"{text!r} is not a duration: give a whole number and s, m, h, d or w, e.g. 90d")
    return seconds
