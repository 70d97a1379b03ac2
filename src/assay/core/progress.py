"""The protocol by which long work reports its progress."""

from typing import Protocol


class Progress(Protocol):
    """A progress callback, called from the working thread; must be fast."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report that `done` of `total` items of the work called `what` are finished."""


def no_progress(what: str, done: int, total: int) -> None:
    """Progress callback that does nothing."""
    del what, done, total
