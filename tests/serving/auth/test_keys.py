"""The key store, and creating, rotating and revoking keys."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.core.errors import AssayError, UsageError
from assay.serving.auth.keys import KeyManager, new_key_id, read_api_keys


def test_stored_files_reveal_no_secret(auth_setup: Any):
    key = auth_setup.key(seconds=90)
    secret = auth_setup.manager.token(key).partition(".")[2]
    assert len(secret) == 43
    for path in auth_setup.folder.iterdir():
        assert secret not in path.read_text(encoding="utf-8")


def test_key_ids_are_unique():
    assert len({new_key_id() for _ in range(1000)}) == 1000


def test_keys_survive_a_round_trip(auth_setup: Any):
    first = auth_setup.key(seconds=90)
    second = auth_setup.key("bronze", ("admin", "metrics"))
    assert auth_setup.manager.list_keys() == [first, second]
    assert (first.expires, second.expires) == (1_800_000_090, None)


def test_key_is_valid_until_it_expires_or_is_revoked(auth_setup: Any):
    key = auth_setup.key(seconds=90)
    assert [key.state(1_800_000_000 + second) for second in (89.9, 90, 91)] == ["valid", "expired", "expired"]
    assert auth_setup.manager.revoke(key.id).state(1_800_000_001) == "revoked"


def test_revoking_twice_has_no_effect(auth_setup: Any):
    key = auth_setup.key()
    first = auth_setup.manager.revoke(key.id)
    auth_setup.wall.now += 100
    assert auth_setup.manager.revoke(key.id) == first


def test_rotation_creates_a_new_key_and_expires_the_old_one(auth_setup: Any):
    old = auth_setup.key(scopes=("classify", "metrics"), seconds=1000)
    version = auth_setup.manager.add_master_key()
    auth_setup.wall.now += 100
    new = auth_setup.manager.rotate(old.id, grace=50)
    now = auth_setup.manager.list_keys()
    assert [key.expires for key in now] == [1_800_000_150, 1_800_001_100]
    assert (new.client, new.tier, new.scopes, new.version) == (old.client, old.tier, old.scopes, version)
    assert new.id != old.id
    assert auth_setup.manager.token(new) != auth_setup.manager.token(old)


def test_rotation_does_not_extend_a_key(auth_setup: Any):
    old = auth_setup.key(seconds=10)
    auth_setup.manager.rotate(old.id, grace=1000)
    assert auth_setup.manager.list_keys()[0].expires == old.expires


def test_new_master_key_does_not_change_existing_tokens(auth_setup: Any):
    key = auth_setup.key()
    before = auth_setup.manager.token(key)
    auth_setup.manager.add_master_key()
    assert auth_setup.manager.token(key) == before


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_store_writable_by_others_is_rejected(auth_setup: Any, mode: int):
    auth_setup.key()
    store = auth_setup.folder / "keys.json"
    store.chmod(mode)
    with pytest.raises(AssayError, match=r"can be written by others .*chmod 644"):
        read_api_keys(store)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": 3}', '{"keys": [{"id": "x"}]}', "\x00", '{"keys": [1]}'])
def test_broken_store_raises_and_is_not_overwritten(auth_setup: Any, text: str):
    store = auth_setup.folder / "keys.json"
    store.write_text(text, encoding="utf-8")
    with pytest.raises(AssayError, match="is not a key file"):
        auth_setup.key()
    assert store.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"client": ""}, "client"),
        ({"client": "a\nb"}, "client"),
        ({"client": "x" * 65}, "client"),
        ({"tier": "Gold"}, "tier"),
        ({"tier": 'a"b'}, "tier"),
        ({"scopes": ("classify", "root")}, "scope"),
    ],
    ids=["empty", "line-feed", "long", "capital", "quote", "scope"],
)
def test_invalid_fields_raise(tmp_path: Path, fields: dict[str, Any], message: str):
    given = {"client": "line 3", "tier": "gold", "scopes": ("classify",), **fields}
    with pytest.raises(UsageError, match=message):
        KeyManager(tmp_path).create(**given)
    assert not KeyManager(tmp_path).list_keys()


def test_unknown_keys_raise(auth_setup: Any):
    for action in (auth_setup.manager.revoke, lambda key_id: auth_setup.manager.rotate(key_id, 1)):
        with pytest.raises(UsageError, match="there is no key ak_none"):
            action("ak_none")


_MAKE = """
import sys
from pathlib import Path
from assay.serving.auth.keys import KeyManager
for _ in range(10):
    KeyManager(Path(sys.argv[1])).create("line 3", "gold", ("classify",))
"""


def test_concurrent_commands_lose_no_key(tmp_path: Path):
    makers = [subprocess.Popen([sys.executable, "-c", _MAKE, str(tmp_path)]) for _ in range(3)]
    assert [maker.wait() for maker in makers] == [0, 0, 0]
    keys = KeyManager(tmp_path).list_keys()
    assert len({key.id for key in keys}) == 30
    assert {key.version for key in keys} == {1}
