"""The key store and what is done with it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.core.errors import AssayError, UsageError
from assay.serving.auth.keys import KeyManager, new_key_id, read_api_keys


def test_nothing_in_the_folder_gives_a_secret_away(entrance: Any):
    key = entrance.key(seconds=90)
    secret = entrance.desk.token(key).partition(".")[2]
    assert len(secret) == 43
    for path in entrance.folder.iterdir():
        assert secret not in path.read_text(encoding="utf-8")


def test_ids_do_not_repeat():
    assert len({new_key_id() for _ in range(1000)}) == 1000


def test_keys_come_back_as_they_were_made(entrance: Any):
    first = entrance.key(seconds=90)
    second = entrance.key("bronze", ("admin", "metrics"))
    assert entrance.desk.list_keys() == [first, second]
    assert (first.expires, second.expires) == (1_800_000_090, None)


def test_a_key_is_valid_until_it_ends_or_is_revoked(entrance: Any):
    key = entrance.key(seconds=90)
    assert [key.state(1_800_000_000 + second) for second in (89.9, 90, 91)] == ["valid", "expired", "expired"]
    assert entrance.desk.revoke(key.id).state(1_800_000_001) == "revoked"


def test_to_revoke_twice_changes_nothing(entrance: Any):
    key = entrance.key()
    first = entrance.desk.revoke(key.id)
    entrance.wall.now += 100
    assert entrance.desk.revoke(key.id) == first


def test_rotation_makes_a_new_key_and_ends_the_old_one(entrance: Any):
    old = entrance.key(scopes=("classify", "metrics"), seconds=1000)
    version = entrance.desk.add_master_key()
    entrance.wall.now += 100
    new = entrance.desk.rotate(old.id, grace=50)
    now = entrance.desk.list_keys()
    assert [key.expires for key in now] == [1_800_000_150, 1_800_001_100]
    assert (new.client, new.tier, new.scopes, new.version) == (old.client, old.tier, old.scopes, version)
    assert new.id != old.id
    assert entrance.desk.token(new) != entrance.desk.token(old)


def test_rotation_never_makes_a_key_last_longer(entrance: Any):
    old = entrance.key(seconds=10)
    entrance.desk.rotate(old.id, grace=1000)
    assert entrance.desk.list_keys()[0].expires == old.expires


def test_a_new_master_leaves_tokens_as_they_are(entrance: Any):
    key = entrance.key()
    before = entrance.desk.token(key)
    entrance.desk.add_master_key()
    assert entrance.desk.token(key) == before


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_store_that_others_may_write_is_refused(entrance: Any, mode: int):
    entrance.key()
    store = entrance.folder / "keys.json"
    store.chmod(mode)
    with pytest.raises(AssayError, match=r"can be written by others .*chmod 644"):
        read_api_keys(store)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": 3}', '{"keys": [{"id": "x"}]}', "\x00", '{"keys": [1]}'])
def test_a_broken_store_is_said_and_never_overwritten(entrance: Any, text: str):
    store = entrance.folder / "keys.json"
    store.write_text(text, encoding="utf-8")
    with pytest.raises(AssayError, match="is not a key file"):
        entrance.key()
    assert store.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("fields", "said"),
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
def test_what_cannot_be_is_said(tmp_path: Path, fields: dict[str, Any], said: str):
    given = {"client": "line 3", "tier": "gold", "scopes": ("classify",), **fields}
    with pytest.raises(UsageError, match=said):
        KeyManager(tmp_path).create(**given)
    assert not KeyManager(tmp_path).list_keys()


def test_unknown_keys_are_said(entrance: Any):
    for action in (entrance.desk.revoke, lambda key_id: entrance.desk.rotate(key_id, 1)):
        with pytest.raises(UsageError, match="there is no key ak_none"):
            action("ak_none")


_MAKE = """
import sys
from pathlib import Path
from assay.serving.auth.keys import KeyManager
for _ in range(10):
    KeyManager(Path(sys.argv[1])).create("line 3", "gold", ("classify",))
"""


def test_commands_at_the_same_time_lose_no_key(tmp_path: Path):
    makers = [subprocess.Popen([sys.executable, "-c", _MAKE, str(tmp_path)]) for _ in range(3)]
    assert [maker.wait() for maker in makers] == [0, 0, 0]
    keys = KeyManager(tmp_path).list_keys()
    assert len({key.id for key in keys}) == 30
    assert {key.version for key in keys} == {1}
