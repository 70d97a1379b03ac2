"""Silence for the warnings that a photo's damaged metadata sets off in Pillow.

`warnings.catch_warnings` swaps filters for the whole process and is not safe between threads; here one filter
stays in place and matches only in a thread that is inside `quiet()`. Knows nothing of images.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast


class _InQuietThread(threading.local):
    """Stands where a filter has its compiled message pattern: the interpreter only calls `match`.

    Libraries that hand the filters to their worker threads (scikit-learn) read `pattern`, which matches
    nothing.
    """

    active = False
    pattern = "(?!)"

    def match(self, text: str) -> bool:
        del text
        return self.active


_PATTERN = _InQuietThread()
_FILTER = ("ignore", _PATTERN, Warning, None, 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore every warning that this thread gives inside the block; other threads' warnings are untouched.

    A warning stays silent even where warnings are errors, so that a photo is read or refused alike whatever
    the program around Assay has set.
    """
    _put_first()
    before = _PATTERN.active
    _PATTERN.active = True
    try:
        yield
    finally:
        _PATTERN.active = before


def _put_first() -> None:
    """Make ours the first filter: others may have come before it, or an older list been restored."""
    filters = cast("list[object]", warnings.filters)
    if filters and filters[0] is _FILTER:
        return
    filters[:] = [_FILTER, *(entry for entry in filters if entry is not _FILTER)]
