"""`assay journal`: what a server was asked, and what it answered."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import result_json, say
from assay.text import printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from assay.serving.journal import Query
    from assay.serving.record import Record

_SHOWN = 20
_HEAD = ("time", "client", "status", "result", "confidence", "ms", "model", "cache", "request", "error")


def journal(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A journal.sqlite or mongodb://HOST/DATABASE; by default where `assay serve` keeps it."
        ),
    ] = None,
    *,
    client: Annotated[str | None, typer.Option(help="Of this client alone.")] = None,
    request: Annotated[str | None, typer.Option(help="With this request id.")] = None,
    since: Annotated[
        str | None, typer.Option(help="From this moment on: 2026-03-01, 2026-03-01T12:00, or 7d, 12h ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this moment.")] = None,
    result: Annotated[str | None, typer.Option(help="Answered with this label.")] = None,
    status: Annotated[int | None, typer.Option(help="Answered with this HTTP status.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help=f"The newest so many; {_SHOWN} when they are printed as a table."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a request (JSON lines).")
    ] = False,
    to: Annotated[
        Path | None, typer.Option(help="Write a table to this .csv, .jsonl or .parquet file.")
    ] = None,
) -> None:
    """List or export the requests that a server has recorded, newest first.

    A moment without a time zone is this machine's.

    Example: assay journal --since 7d --to week.parquet
    """
    import asyncio

    from assay.serving.journal import Query
    from assay.serving.settings import default_journal

    query = Query(
        client_id=client,
        request_id=request,
        since=_moment(since),
        until=_moment(until),
        result=result,
        status=status,
        limit=limit or (None if json or to else _SHOWN),
    )
    asyncio.run(_show(source or str(default_journal()), query, json=json, to=to))


async def _show(source: str, query: "Query", *, json: bool, to: Path | None) -> None:
    from assay.serving.journal import make_store
    from assay.serving.journal.export import export

    store = make_store(source, must_exist=True)
    try:
        await store.open()
        records = store.read(query)
        if to is not None:
            count = await export(records, to)
            say(f"{count} requests: {to}")
        elif json:
            await _print_lines(records)
        else:
            await _print_table(records)
    finally:
        await store.close()


async def _print_lines(records: "AsyncIterator[Record]") -> None:
    from assay.serving.journal.documents import dump_line

    async for record in records:
        result_json(dump_line(record))


async def _print_table(records: "AsyncIterator[Record]") -> None:
    rows = [_row(one) async for one in records]
    if not rows:
        say("no requests")
        return
    widths = [max(len(row[place]) for row in (_HEAD, *rows)) for place in range(len(_HEAD))]
    for row in (_HEAD, *rows):
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(record: "Record") -> tuple[str, ...]:
    unknown = " (unknown)" if record.unknown else ""
    cells = (
        record.timestamp.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        record.client_id,
        str(record.status),
        f"{record.result}{unknown}" if record.result else "–",
        "–" if record.confidence is None else f"{record.confidence:.3f}",
        f"{1000 * record.processing_time:.1f}",
        record.model,
        "hit" if record.cache_hit else "",
        record.request_id,
        record.error or "",
    )
    return tuple(map(printable, cells))


def _moment(text: str | None) -> datetime | None:
    """Return a moment as it was typed: a date, a date and time, or how long ago."""
    from datetime import UTC, timedelta

    from assay.errors import UsageError
    from assay.serving.auth.duration import seconds_of

    if text is None:
        return None
    if text.strip()[-1:].isalpha() and "T" not in text:
        return datetime.now(UTC) - timedelta(seconds=seconds_of(text))
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError:
        raise UsageError(
            f"{text!r} is no moment; write 2026-03-01, 2026-03-01T12:00, or 7d, 12h, 30m for so long ago"
        ) from None
