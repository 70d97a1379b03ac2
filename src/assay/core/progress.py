"""The protocol by which long work reports its progress."""

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on, from the thread that does it; must return quickly."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say that `done` of `total` pieces of the work called `what` are finished."""


def no_progress(what: str, done: int, total: int) -> None:
    """Tell nobody."""
    del what, done, total
