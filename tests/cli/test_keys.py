"""The commands `assay keys`: output, stored keys and errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from assay.serving.auth.keys import KeyManager


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of keys that the commands use."""
    monkeypatch.setenv("ASSAY_KEYS", str(tmp_path / "keys"))
    monkeypatch.delenv("ASSAY_MASTER_KEYS", raising=False)
    return tmp_path / "keys"


def test_create_prints_only_the_token_on_standard_output(assay: Any, folder: Path):
    made = assay("keys", "create", "--client", "line 3", "--tier", "gold", "--expires", "90d")
    [key] = KeyManager(folder).list_keys()
    assert made.code == 0
    assert made.out == f"{KeyManager(folder).token(key)}\n"
    assert "not stored" in made.err
    assert (key.client, key.tier, key.scopes) == ("line 3", "gold", ("classify",))
    assert key.expires == key.created + 90 * 86_400


def test_create_rotate_and_revoke_a_key(assay: Any):
    made = json.loads(
        assay("keys", "create", "--client", "a", "--scope", "classify", "--scope", "metrics", "--json").out
    )
    assert made["token"].startswith(made["id"] + ".")
    assert (made["scopes"], made["state"], made["expires"]) == (["classify", "metrics"], "valid", None)
    new = json.loads(assay("keys", "rotate", made["id"], "--grace", "2h", "--json").out)
    assert new["token"] != made["token"]
    assert json.loads(assay("keys", "revoke", made["id"], "--json").out)["state"] == "revoked"
    listed = json.loads(assay("keys", "list", "--json").out)
    assert [(row["id"], row["state"]) for row in listed] == [(made["id"], "revoked"), (new["id"], "valid")]
    assert all("token" not in row for row in listed)
    table = assay("keys", "list").out.splitlines()
    assert len(table) == 3
    assert table[0].split() == ["key", "client", "tier", "scopes", "expires", "state"]
    assert "revoked" in table[1]


def test_new_master_key(assay: Any):
    assay("keys", "create", "--client", "a")
    assert json.loads(assay("keys", "rotate", "--master", "--json").out) == {"version": 2}
    made = json.loads(assay("keys", "create", "--client", "a", "--json").out)
    assert made["version"] == 2


def test_key_folder_option(assay: Any, tmp_path: Path, folder: Path):
    assay("keys", "create", "--client", "a", "--keys", tmp_path / "other")
    assert len(KeyManager(tmp_path / "other").list_keys()) == 1
    assert not folder.exists()


def test_unknown_tier_gives_a_hint(assay: Any):
    made = assay("keys", "create", "--client", "a", "--tier", "platinum")
    assert made.code == 0
    assert "platinum is not a built-in tier" in made.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create"], "--client"),
        (["create", "--client", "a", "--expires", "soon"], "is not a duration"),
        (["create", "--client", "a", "--scope", "root"], "a scope is one of"),
        (["create", "--client", "a\nb"], "a client's name"),
        (["create", "--client", "a", "--tier", "Gold!"], "a tier's name"),
        (["revoke", "ak_none"], "there is no key ak_none"),
        (["rotate", "ak_none"], "there is no key ak_none"),
        (["rotate"], "give the id of the key to replace, or --master"),
        (["rotate", "ak_none", "--master"], "give the id of the key to replace, or --master"),
    ],
    ids=lambda value: " ".join(value).encode("unicode_escape").decode() if isinstance(value, list) else "",
)
def test_invalid_arguments_raise(assay: Any, arguments: list[str], message: str):
    ended = assay("keys", *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_master_keys_readable_by_others_are_rejected(assay: Any, folder: Path):
    assay("keys", "create", "--client", "a")
    (folder / "master.keys").chmod(0o644)
    ended = assay("keys", "create", "--client", "b")
    assert ended.code == 1
    assert "chmod 600" in ended.err
    assert len(KeyManager(folder).list_keys()) == 1
