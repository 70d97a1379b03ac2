"""The nearest name to a mistyped one."""

from collections.abc import Iterable
from difflib import SequenceMatcher


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the entry of `known` most like `name`, by the ratio of matching characters.

    Raises:
        ValueError: `known` is empty.
    """
    return max(known, key=lambda candidate: SequenceMatcher(None, name.lower(), candidate.lower()).ratio())
