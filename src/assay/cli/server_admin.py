"""`assay keys` and `assay request-log`: manage API keys and query the request log of the server."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.console import echo, print_json, print_json_text, print_result
from assay.core.printable_text import printable
from assay.core.text_layout import counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from assay.serving.auth.keys import ApiKey, KeyManager
    from assay.serving.request_log.stores import RecordQuery
    from assay.serving.request_record import RequestRecord


keys = typer.Typer(help="Create, list, rotate and revoke API keys of `assay serve`.", no_args_is_help=True)

_FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--keys", help="Folder of the keys. (default: $ASSAY_KEYS, or assay in the user's configuration folder)"
    ),
]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
_KeyArgument = Annotated[str, typer.Argument(help="Id of the key, ak_...")]


@keys.command()
def create(
    *,
    client: Annotated[str, typer.Option(help="Name of the client.")],
    tier: Annotated[
        str, typer.Option(help="Rate limit tier: bronze, silver, gold, or one defined in the server's settings.")
    ] = "bronze",
    expires: Annotated[str | None, typer.Option(help="Lifetime, e.g. 90d. (default: unlimited)")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="Permission: classify, metrics or admin; repeatable. (default: classify)")
    ] = None,
    folder: _FolderOption = None,
    json: _JsonOption = False,
) -> None:
    """Create a key. Its secret is shown only once.

    Example: assay keys create --client line-3 --tier gold --expires 90d
    """
    from assay.core.duration import parse_lifetime
    from assay.serving.auth.keys import KeyManager

    seconds = None if expires is None else parse_lifetime(expires)
    desk = KeyManager(folder)
    made = desk.create(client, tier, tuple(scope or ("classify",)), seconds)
    _print_new_key(desk, made, json=json)


@keys.command("list")
def list_keys(*, folder: _FolderOption = None, json: _JsonOption = False) -> None:
    """List the keys. Secrets are not stored and cannot be shown.

    Example: assay keys list
    """
    from assay.serving.auth.keys import KeyManager

    desk = KeyManager(folder)
    if json:
        print_json([_key_row(desk, key) for key in desk.list_keys()])
        return
    _print_keys([_key_row(desk, key) for key in desk.list_keys()])


@keys.command()
def rotate(
    key: Annotated[str | None, typer.Argument(help="Id of the key to replace, ak_...")] = None,
    *,
    grace: Annotated[str, typer.Option(help="How long the old key remains valid.")] = "1d",
    master: Annotated[bool, typer.Option("--master", help="Add a new master secret, which new keys use.")] = False,
    folder: _FolderOption = None,
    json: _JsonOption = False,
) -> None:
    """Replace a key with a new one for the same client, or add a new master secret.

    Example: assay keys rotate ak_k3v9m2x7p4q8w6zt --grace 2d
    """
    from assay.core.duration import parse_lifetime
    from assay.core.errors import UsageError
    from assay.serving.auth.keys import KeyManager

    if master == (key is not None):
        raise UsageError("give the id of the key to replace, or --master")
    desk = KeyManager(folder)
    if key is None:
        version = desk.add_master_key()
        said = f"master secret version {version}; existing keys remain valid until they are rotated"
        print_json({"version": version}) if json else echo(said)
        return
    made = desk.rotate(key, parse_lifetime(grace))
    _print_new_key(desk, made, json=json)


@keys.command()
def revoke(key: _KeyArgument, *, folder: _FolderOption = None, json: _JsonOption = False) -> None:
    """Revoke a key. A running server rejects it within two seconds.

    Example: assay keys revoke ak_k3v9m2x7p4q8w6zt
    """
    from assay.serving.auth.keys import KeyManager

    desk = KeyManager(folder)
    revoked = desk.revoke(key)
    print_json(_key_row(desk, revoked)) if json else echo(f"{revoked.id} of {revoked.client} is revoked")


def _key_row(desk: "KeyManager", key: "ApiKey") -> dict[str, Any]:
    """Return the public fields of a key, with times in ISO 8601."""
    row = key.model_dump(mode="json")
    for name in ("created", "expires", "revoked"):
        row[name] = None if row[name] is None else datetime.fromtimestamp(row[name], UTC).isoformat()
    return {**row, "state": desk.state(key)}


def _print_new_key(desk: "KeyManager", key: "ApiKey", *, json: bool) -> None:
    from assay.serving.auth.settings import DEFAULT_TIERS

    token = desk.token(key)
    if json:
        print_json({**_key_row(desk, key), "token": token})
        return
    expires_at = _key_row(desk, key)["expires"]
    print_result(token)
    echo(f"for {key.client}, {key.tier}, {' '.join(key.scopes)}, expires {expires_at or 'never'}", err=True)
    if key.tier not in DEFAULT_TIERS:
        echo(f"{key.tier} is not a built-in tier: the server's settings must define it.", err=True)
    echo("Save the key now: it is not stored and cannot be shown again.", err=True)


def _print_keys(rows: list[dict[str, Any]]) -> None:
    head = {
        "id": "key",
        "client": "client",
        "tier": "tier",
        "scopes": "scopes",
        "expires": "expires",
        "state": "state",
    }
    lines = [{**row, "scopes": " ".join(row["scopes"]), "expires": (row["expires"] or "never")[:16]} for row in rows]
    width = {name: max(len(line[name]) for line in [head, *lines]) for name in head}
    for line in [head, *lines]:
        echo("  ".join(f"{line[name]:<{width[name]}}" for name in head).rstrip())


_DEFAULT_LIMIT = 20
_REQUEST_COLUMNS = ("time", "client", "status", "result", "confidence", "ms", "model", "cache", "request", "error")


def request_log(
    source: Annotated[
        str | None,
        typer.Argument(help="An SQLite file or mongodb://HOST/DATABASE. (default: where `assay serve` writes it)"),
    ] = None,
    *,
    client: Annotated[str | None, typer.Option(help="Only requests of this client.")] = None,
    request: Annotated[str | None, typer.Option(help="Only the request with this id.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Start time: 2026-03-01, 2026-03-01T12:00, or how long ago: 7d, 12h.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="End time, exclusive.")] = None,
    result: Annotated[str | None, typer.Option(help="Only this predicted label.")] = None,
    status: Annotated[int | None, typer.Option(help="Only this HTTP status.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help=f"Maximum number of requests. (default: {_DEFAULT_LIMIT} for a table, else all)"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per request (JSON lines).")] = False,
    to: Annotated[Path | None, typer.Option(help="Write a table to this .csv, .jsonl or .parquet file.")] = None,
) -> None:
    """List or export recorded requests, newest first.

    Times without a time zone are local.

    Example: assay request-log --since 7d --to week.parquet
    """
    import asyncio

    from assay.serving.request_log import default_request_log
    from assay.serving.request_log.stores import RecordQuery

    query = RecordQuery(
        client_id=client,
        request_id=request,
        since=_parse_moment(since),
        until=_parse_moment(until),
        result=result,
        status=status,
        limit=limit or (None if json or to else _DEFAULT_LIMIT),
    )
    asyncio.run(_run_query(source or str(default_request_log()), query, json=json, to=to))


async def _run_query(source: str, query: "RecordQuery", *, json: bool, to: Path | None) -> None:
    from assay.serving.request_log.serialization import export_records
    from assay.serving.request_log.stores import make_store

    store = make_store(source, must_exist=True)
    try:
        await store.open()
        records = store.read(query)
        if to is not None:
            count = await export_records(records, to)
            echo(f"{counted(count, 'request')}: {to}")
        elif json:
            await _print_request_lines(records)
        else:
            await _print_requests(records)
    finally:
        await store.close()


async def _print_request_lines(records: "AsyncIterator[RequestRecord]") -> None:
    from assay.serving.request_log.serialization import to_json_line

    async for record in records:
        print_json_text(to_json_line(record))


async def _print_requests(records: "AsyncIterator[RequestRecord]") -> None:
    rows = [_request_row(record) async for record in records]
    if not rows:
        echo("no requests")
        return
    widths = [max(len(row[index]) for row in (_REQUEST_COLUMNS, *rows)) for index in range(len(_REQUEST_COLUMNS))]
    for row in (_REQUEST_COLUMNS, *rows):
        echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _request_row(record: "RequestRecord") -> tuple[str, ...]:
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


def _parse_moment(text: str | None) -> datetime | None:
    """Parse a date, a date and time, or an age such as 7d."""
    from datetime import UTC, timedelta

    from assay.core.duration import parse_lifetime
    from assay.core.errors import UsageError

    if text is None:
        return None
    if text.strip()[-1:].isalpha() and "T" not in text:
        return datetime.now(UTC) - timedelta(seconds=parse_lifetime(text))
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError:
        raise UsageError(
            f"{text!r} is not a time: give 2026-03-01, 2026-03-01T12:00, or an age such as 7d, 12h, 30m"
        ) from None
