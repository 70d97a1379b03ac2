"""The MongoDB store: documents, indexes, expiry and filters."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from assay.serving.request_log.mongo_store import COLLECTION, MongoStore, to_filter
from assay.serving.request_log.stores import RecordQuery

pytestmark = pytest.mark.anyio


async def test_documents_have_the_documented_fields_and_indexes(mongo_server: Any, record: Any):
    url = f"{mongo_server.url}/t{uuid4().hex}"
    store = MongoStore(SecretStr(url), keep_days=20_000)
    await store.open()
    item = record()
    await store.write([item])
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url, tz_aware=True)
    collection = client.get_default_database()[COLLECTION]
    assert await collection.find_one() == {
        "_id": item.id,
        "request_id": "request-0",
        "timestamp": datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC),
        "client_id": "line-7",
        "image_metadata": {"size": 123_456, "format": "jpeg", "dimensions": [1920, 1080]},
        "classification": {"result": "open", "confidence": 0.75},
        "performance": {"processing_time": 0.0125, "model_version": "3f" * 8},
        "unknown": False,
        "model": "bottle",
        "cache_hit": False,
        "status": 200,
        "error": None,
        "region": None,
    }
    assert COLLECTION == "request_logs"
    indexes = [(list(index["key"]), index.get("expireAfterSeconds")) async for index in await collection.list_indexes()]
    assert (["client_id", "timestamp"], None) in indexes
    assert (["timestamp"], 20_000 * 86_400) in indexes
    await client.close()
    await store.close()


def test_queries_become_mongodb_filters():
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    later = noon + timedelta(hours=1, microseconds=1999)
    assert to_filter(RecordQuery()) == {}
    assert to_filter(RecordQuery(client_id="gate", since=noon)) == {
        "client_id": "gate",
        "timestamp": {"$gte": datetime(2026, 3, 1, 11, tzinfo=UTC)},
    }
    assert to_filter(RecordQuery(since=noon, until=later, result="open", status=200, limit=3)) == {
        "timestamp": {
            "$gte": datetime(2026, 3, 1, 11, tzinfo=UTC),
            "$lt": datetime(2026, 3, 1, 12, 0, 0, 1000, tzinfo=UTC),
        },
        "classification.result": "open",
        "status": 200,
    }


async def test_address_overrides_the_defaults():
    store = MongoStore(SecretStr("mongodb://127.0.0.1:1/mine?w=1&serverSelectionTimeoutMS=7"))
    plain = MongoStore(SecretStr("mongodb://127.0.0.1:1"))
    assert store._collection.database.name == "mine"
    assert store._client.write_concern.document == {"w": 1}
    assert plain._collection.database.name == "assay"
    assert plain._client.write_concern.document == {"w": "majority"}
    await store.close()
    await plain.close()
