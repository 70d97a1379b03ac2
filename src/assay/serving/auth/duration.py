"""Parse time spans such as 90d or 12h."""

import re

from assay.core.errors import UsageError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(text: str) -> int:
    """Return the seconds of a span such as 90d, 12h, 30m, 45s or 2w.

    Raises:
        UsageError: it is no span, or longer than a hundred years.
    """
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip().lower(), re.ASCII)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 0 < seconds <= 36_525 * 86_400:
        raise UsageError(f"{text!r} is no span of time; give a number and s, m, h, d or w, as in 90d")
    return seconds
