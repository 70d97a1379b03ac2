"""`assay keys`: who may use the server."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.console import print_json, result, say

if TYPE_CHECKING:
    from assay.serving.auth.desk import Desk
    from assay.serving.auth.keys import Key

keys = typer.Typer(help="Make, list, rotate and revoke the keys of assay serve.", no_args_is_help=True)

_Folder = Annotated[
    Path | None,
    typer.Option("--keys", help="Folder of the keys; else $ASSAY_KEYS, else assay in your settings folder."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
_Id = Annotated[str, typer.Argument(help="The key's id, ak_....")]


@keys.command()
def create(
    *,
    client: Annotated[str, typer.Option(help="Whom the key is for.")],
    tier: Annotated[str, typer.Option(help="bronze, silver, gold, or one of the server's own.")] = "bronze",
    expires: Annotated[str | None, typer.Option(help="When it ends, as 90d; else never.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="What it opens: classify, metrics, admin; may be repeated.")
    ] = None,
    folder: _Folder = None,
    json: _Json = False,
) -> None:
    """Make a key; its secret is shown this once.

    Example: assay keys create --client line-3 --tier gold --expires 90d
    """
    from assay.serving.auth.desk import Desk
    from assay.serving.auth.duration import seconds_of

    seconds = None if expires is None else seconds_of(expires)
    desk = Desk(folder)
    made = desk.create(client, tier, tuple(scope or ("classify",)), seconds)
    _show_new(desk, made, json=json)


@keys.command("list")
def list_keys(*, folder: _Folder = None, json: _Json = False) -> None:
    """List the keys; secrets are not kept, so none is shown.

    Example: assay keys list
    """
    from assay.serving.auth.desk import Desk

    desk = Desk(folder)
    if json:
        print_json([_row(desk, key) for key in desk.all_keys()])
        return
    _print_table([_row(desk, key) for key in desk.all_keys()])


@keys.command()
def rotate(
    key: Annotated[str | None, typer.Argument(help="The key to replace, ak_....")] = None,
    *,
    grace: Annotated[str, typer.Option(help="How long the old key goes on.")] = "1d",
    master: Annotated[bool, typer.Option("--master", help="Add a master secret; new keys use it.")] = False,
    folder: _Folder = None,
    json: _Json = False,
) -> None:
    """Replace a key by a new one for the same client; or renew the master secret.

    Example: assay keys rotate ak_k3v9m2x7p4q8w6zt --grace 2d
    """
    from assay.errors import UsageError
    from assay.serving.auth.desk import Desk
    from assay.serving.auth.duration import seconds_of

    if master == (key is not None):
        raise UsageError("give a key to replace, or --master")
    desk = Desk(folder)
    if key is None:
        version = desk.renew_master()
        said = f"master version {version}; keys made before go on until they are rotated"
        print_json({"version": version}) if json else say(said)
        return
    made = desk.rotate(key, seconds_of(grace))
    _show_new(desk, made, json=json)


@keys.command()
def revoke(key: _Id, *, folder: _Folder = None, json: _Json = False) -> None:
    """Revoke a key; a running server refuses it within two seconds.

    Example: assay keys revoke ak_k3v9m2x7p4q8w6zt
    """
    from assay.serving.auth.desk import Desk

    desk = Desk(folder)
    revoked = desk.revoke(key)
    print_json(_row(desk, revoked)) if json else say(f"{revoked.id} of {revoked.client} is revoked")


def _row(desk: "Desk", key: "Key") -> dict[str, Any]:
    """Return what is shown of a key, times as ISO 8601."""
    row = key.model_dump(mode="json")
    for name in ("created", "expires", "revoked"):
        row[name] = None if row[name] is None else datetime.fromtimestamp(row[name], UTC).isoformat()
    return {**row, "state": desk.state(key)}


def _show_new(desk: "Desk", key: "Key", *, json: bool) -> None:
    from assay.serving.auth.settings import TIERS

    token = desk.token(key)
    if json:
        print_json({**_row(desk, key), "token": token})
        return
    ends = _row(desk, key)["expires"]
    result(token)
    say(f"for {key.client}, {key.tier}, {' '.join(key.scopes)}, ends {ends or 'never'}", err=True)
    if key.tier not in TIERS:
        say(f"{key.tier} is no usual tier: the server's settings must have it.", err=True)
    say("Keep it now: it is not stored and cannot be shown again.", err=True)


def _print_table(rows: list[dict[str, Any]]) -> None:
    head = {
        "id": "key",
        "client": "client",
        "tier": "tier",
        "scopes": "scopes",
        "expires": "ends",
        "state": "state",
    }
    lines = [
        {**row, "scopes": " ".join(row["scopes"]), "expires": (row["expires"] or "never")[:16]}
        for row in rows
    ]
    width = {name: max(len(line[name]) for line in [head, *lines]) for name in head}
    for line in [head, *lines]:
        say("  ".join(f"{line[name]:<{width[name]}}" for name in head).rstrip())
