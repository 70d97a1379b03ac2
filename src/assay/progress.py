"""How long work tells what it has done: by a function, so that only the command line knows of terminals."""

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on, from the thread that does it; must return quickly."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say that `done` of `total` pieces of the work called `what` are finished."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
    del what, done, total
