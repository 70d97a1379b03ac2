"""Store request records in MongoDB, one document each; the collection can be sharded by (client_id, timestamp)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr
from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, IndexModel
from pymongo.errors import BulkWriteError, InvalidName, OperationFailure, PyMongoError

from assay.core.errors import UsageError
from assay.serving.request_log.serialization import from_document, to_document, to_milliseconds
from assay.serving.request_log.stores import RecordQuery, StoreUnavailableError
from assay.serving.request_record import RequestRecord

COLLECTION: Final = "request_logs"

_DEFAULT_DATABASE: Final = "assay"
_DUPLICATE, _OPTIONS_DIFFER = 11000, 85  # MongoDB's error codes
_SECONDS_PER_DAY: Final = 86_400  # seconds
_MAX_TTL_SECONDS: Final = 2**31 - 1  # seconds that a TTL index can count
_DEFAULT_OPTIONS: Final = {
    "serverSelectionTimeoutMS": 2000,
    "connectTimeoutMS": 2000,
    "socketTimeoutMS": 10_000,
    "w": "majority",
}


class MongoStore:
    """A `RecordStore` in MongoDB; the driver reconnects by itself."""

    def __init__(self, address: SecretStr, *, keep_days: float | None = None) -> None:
        """Store the address; nothing is sent yet.

        Args:
            address: mongodb:// or mongodb+srv://, with the database's name as its path (default: `assay`). Options in
                it override the defaults here.
            keep_days: MongoDB removes older records; None: never.

        Raises:
            UsageError: the address is invalid.
        """
        url = address.get_secret_value()
        given = {name.lower() for name, _ in parse_qsl(urlsplit(url).query)}
        options: dict[str, Any] = {name: value for name, value in _DEFAULT_OPTIONS.items() if name.lower() not in given}
        try:
            self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
                url, tz_aware=True, appname="assay", **options
            )
            self._collection = self._client.get_default_database(_DEFAULT_DATABASE)[COLLECTION]
        except (PyMongoError, InvalidName, ValueError):
            # The library's text may hold a part of the password.
            raise UsageError(
                "the request log's URL is not valid for MongoDB; give mongodb://HOST:PORT/DATABASE, with"
                " %40 and the like for signs in names and passwords"
            ) from None
        self._where = urlsplit(url).hostname or "?"
        self._keep_days = keep_days

    async def open(self) -> None:
        """Create missing indexes, and set how long records are kept."""
        try:
            await self._collection.create_indexes(
                [
                    # Supports the shard key; without it the collection cannot be sharded.
                    IndexModel([("client_id", ASCENDING), ("timestamp", ASCENDING)]),
                    IndexModel([("request_id", ASCENDING)]),
                ]
            )
            await self._set_age()
        except PyMongoError as error:
            raise self._away(error) from error

    async def write(self, records: Sequence[RequestRecord]) -> int:
        """Store a batch in any order; records that are stored already are rejected by their `_id` and skipped."""
        try:
            await self._collection.insert_many([to_document(item) for item in records], ordered=False)
        except BulkWriteError as error:
            details: Mapping[str, Any] = error.details or {}
            if details.get("writeConcernErrors"):
                raise self._away(error) from error
            return sum(item.get("code") != _DUPLICATE for item in details.get("writeErrors", ()))
        except PyMongoError as error:
            raise self._away(error) from error
        return 0

    async def read(self, query: RecordQuery) -> AsyncIterator[RequestRecord]:
        """Yield matching records, newest first."""
        found = self._collection.find(to_filter(query), limit=query.limit or 0)
        try:
            async for stored in found.sort([("timestamp", DESCENDING), ("_id", DESCENDING)]):
                yield from_document(stored)
        except PyMongoError as error:
            raise self._away(error) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _set_age(self) -> None:
        if self._keep_days is None:
            return
        keys, seconds = [("timestamp", ASCENDING)], min(round(self._keep_days * _SECONDS_PER_DAY), _MAX_TTL_SECONDS)
        try:
            await self._collection.create_index(keys, expireAfterSeconds=seconds)
        except OperationFailure as error:
            if error.code != _OPTIONS_DIFFER:
                raise
            index = {"keyPattern": dict(keys), "expireAfterSeconds": seconds}
            await self._collection.database.command("collMod", COLLECTION, index=index)

    def _away(self, error: PyMongoError) -> StoreUnavailableError:
        # The driver's own text can be a page long, and name the user.
        details = error.details if isinstance(error, OperationFailure) else None
        reason = (details or {}).get("codeName") or type(error).__name__
        return StoreUnavailableError(
            f"the request log's MongoDB at {self._where} cannot be used now ({reason}); look at it"
        )


def to_filter(query: RecordQuery) -> dict[str, Any]:
    """Return a query as a MongoDB filter."""
    span = {
        name: to_milliseconds(moment)
        for name, moment in (("$gte", query.since), ("$lt", query.until))
        if moment is not None
    }
    wanted = {
        "client_id": query.client_id,
        "request_id": query.request_id,
        "timestamp": span or None,
        "classification.result": query.result,
        "status": query.status,
    }
    return {name: value for name, value in wanted.items() if value is not None}
