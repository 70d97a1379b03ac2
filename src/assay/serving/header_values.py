"""Values of header fields, read strictly."""

_LONGEST = 20


def whole_number(text: str) -> int | None:
    """Return a number of 1 to 20 decimal digits, as in `Content-Length`; None for anything else.

    Longer ones are no length of anything, and Python refuses to read thousands of digits.
    """
    return int(text) if len(text) <= _LONGEST and text.isascii() and text.isdigit() else None
