"""Where records of requests are kept: what every database must do.

Knows nothing of HTTP. Writing is done behind the answers, in batches, by `Journal`.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from assay.errors import AssayError
from assay.serving.record import Record


class StoreError(AssayError):
    """The database is away, or refuses for now: what was to be written is to be written again."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which records are wanted; None stands for all."""

    client_id: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    """The first moment, with its time zone."""
    until: datetime | None = None
    """The first moment that is too late, with its time zone."""
    result: str | None = None
    status: int | None = None
    limit: int | None = None
    """1 or more."""


class Store(Protocol):
    """A database of records."""

    async def open(self) -> None:
        """Connect, and make tables and indexes where they are missing. May be called again after an error.

        Raises:
            StoreError: the database is away.
            AssayError: the address cannot be right.
        """

    async def write(self, records: Sequence[Record]) -> int:
        """Store a batch; records whose `id` is stored already are passed over.

        Returns:
            How many records the database will never take.

        Raises:
            StoreError: the database is away or refuses; none, some or all of the batch may be stored.
        """

    def read(self, query: Query) -> AsyncIterator[Record]:
        """Give matching records, newest first; times are whole milliseconds.

        Raises:
            StoreError: the database is away.
        """

    async def close(self) -> None:
        """Let go of connections."""
