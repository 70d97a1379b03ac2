"""The command `assay request-log`: listing and exporting recorded requests."""

import asyncio
import csv
import gc
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from assay.serving.request_log.stores import make_store
from assay.serving.request_record import ImageMetadata, RequestRecord

Assay = Callable[..., Any]
_NOON = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A request log of three requests: open, closed, and one with no photo."""
    usual = RequestRecord(
        request_id="first",
        timestamp=_NOON,
        client_id="line-7",
        image=ImageMetadata(2048, "jpeg", (640, 480)),
        result="open",
        confidence=0.875,
        unknown=False,
        processing_time=0.012,
        model="bottle",
        model_version="3f",
        cache_hit=True,
        status=200,
    )
    closed = replace(
        usual, id="b", request_id="=1+1", timestamp=_NOON + timedelta(days=1), result="closed", unknown=True
    )
    none = replace(
        usual,
        id="c",
        request_id="\x1b[31mred",
        timestamp=datetime.now(UTC) - timedelta(minutes=5),
        client_id="gate",
        image=None,
        result=None,
        confidence=None,
        unknown=None,
        cache_hit=False,
        status=400,
    )

    async def fill() -> None:
        store = make_store(str(tmp_path / "requests.sqlite"))
        await store.open()
        await store.write([usual, closed, none])
        await store.close()

    asyncio.run(fill())
    return tmp_path / "requests.sqlite"


def test_newest_requests_are_listed_first_with_control_characters_escaped(assay: Assay, source: Path):
    result = assay("request-log", source)
    assert result.code == 0
    head, red, closed, first = result.out.splitlines()
    assert head.split() == [
        "time",
        "client",
        "status",
        "result",
        "confidence",
        "ms",
        "model",
        "cache",
        "request",
        "error",
    ]
    assert red.split()[2:] == ["gate", "400", "–", "–", "12.0", "bottle", "\\x1b[31mred"]
    assert "closed (unknown)" in closed
    assert first.split()[4:] == ["open", "0.875", "12.0", "bottle", "hit", "first"]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--client", "gate"], ["\x1b[31mred"]),
        (["--since", "10m"], ["\x1b[31mred"]),
        (["--until", "2026-03-02T00:00+00:00"], ["first"]),
        (["--since", "2026-03-02T00:00Z", "--until", "2026-03-03T00:00Z"], ["=1+1"]),
        (["--result", "open"], ["first"]),
        (["--status", "400"], ["\x1b[31mred"]),
        (["--request", "first"], ["first"]),
        (["--limit", "1"], ["\x1b[31mred"]),
        (["--client", "nobody"], []),
    ],
    ids=lambda value: "-".join(value) if value and value[0].startswith("--") else "",
)
def test_options_filter_requests(assay: Assay, source: Path, options: list[str], ids: list[str]):
    result = assay("request-log", source, "--json", *options)
    assert [json.loads(line)["request_id"] for line in result.out.splitlines()] == ids


def test_exported_tables_contain_all_fields(assay: Assay, source: Path, tmp_path: Path):
    for suffix in ("csv", "jsonl", "parquet"):
        result = assay("request-log", source, "--to", tmp_path / f"week.{suffix}")
        assert result.out == f"3 requests: {tmp_path / f'week.{suffix}'}\n"
    with (tmp_path / "week.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines = [json.loads(line) for line in (tmp_path / "week.jsonl").read_text(encoding="utf-8").splitlines()]
    table = pq.read_table(tmp_path / "week.parquet").to_pylist()
    assert [row["request_id"] for row in rows] == ["\\x1b[31mred", "'=1+1", "first"]
    assert rows[2]["timestamp"] == "2026-03-01T12:00:00.500+00:00"
    assert (rows[2]["unknown"], rows[2]["width"], rows[0]["width"]) == ("0", "640", "")
    assert lines[2]["image_metadata"] == {"size": 2048, "format": "jpeg", "dimensions": [640, 480]}
    assert table[2]["timestamp"] == _NOON
    assert (table[1]["request_id"], table[1]["unknown"], table[0]["confidence"]) == ("=1+1", True, None)


def test_empty_result_is_a_table_without_rows(assay: Assay, source: Path, tmp_path: Path):
    assert assay("request-log", source, "--client", "nobody").out == "no requests\n"
    assay("request-log", source, "--client", "nobody", "--to", tmp_path / "none.parquet")
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["none.sqlite"], 1, "none.sqlite does not exist"),
        (["{source}", "--since", "soon"], 2, "'soon'"),
        (["{source}", "--since", "2026-13-01"], 2, "'2026-13-01' is not a time"),
        (["{source}", "--to", "week.xls"], 2, "week.xls: the request log is exported as"),
    ],
    ids=["missing", "soon", "date", "xls"],
)
def test_errors_are_one_sentence(assay: Assay, source: Path, arguments: list[str], code: int, sentence: str):
    result = assay("request-log", *(text.format(source=source) for text in arguments))
    assert result.code == code
    assert sentence in result.err
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_unavailable_database_is_reported_without_secrets(assay: Assay):
    result = assay("request-log", "mongodb://me:secret@127.0.0.1:1/x?serverSelectionTimeoutMS=10")
    gc.collect()  # pymongo leaves a socket to it
    assert result.code == 1
    assert "MongoDB at 127.0.0.1 cannot be used now" in result.err
    assert "secret" not in result.err
