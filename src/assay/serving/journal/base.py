"""Where records of requests are kept: what every database must do.

Knows nothing of HTTP. Writing is done behind the answers, in batches, by `Journal`.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from assay.serving.record import Record


@dataclass(frozen=True, slots=True)
class Query:
    """Which records are wanted; None stands for all."""

    client_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    result: str | None = None
    status: int | None = None
    limit: int | None = None


class Store(Protocol):
    """A database of records."""

    async def open(self) -> None:
        """Connect, and make tables and indexes where they are missing."""

    async def write(self, records: Sequence[Record]) -> None:
        """Store a batch; records whose `request_id` is stored already are passed over.

        Raises:
            StoreError: the database is away or refuses; nothing or all of the batch may be stored.
        """

    def read(self, query: Query) -> AsyncIterator[Record]:
        """Give matching records, newest first."""

    async def close(self) -> None:
        """Let go of connections."""
