"""Master keys: strict parsing, no secrets in output, renewal without invalidating keys in use."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from assay.core.errors import AssayError, UsageError
from assay.serving.auth.master_keys import MasterKeys, add_master_key, read_master_keys

MASTER = bytes(range(32))
HEX = MASTER.hex()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_MASTER_KEYS", raising=False)


def test_a_secret_is_the_hmac_of_version_and_key_id():
    digest = hmac.new(MASTER, b"7|ak_abc", hashlib.sha256).digest()
    assert MasterKeys({7: MASTER}).secret(7, "ak_abc") == urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_secret_depends_on_version_id_and_master_key():
    ring = MasterKeys({1: MASTER, 2: MASTER, 3: MASTER[::-1]})
    secrets = {ring.secret(version, key) for version in (1, 2, 3) for key in ("ak_a", "ak_b")}
    assert len(secrets) == 6


def test_file_is_private_and_survives_a_round_trip(tmp_path: Path):
    path = tmp_path / "new" / "master.keys"
    ring = add_master_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_master_keys(path).secret(1, "ak_a") == ring.secret(1, "ak_a")


def test_renewal_keeps_older_versions(tmp_path: Path):
    path = tmp_path / "master.keys"
    first = add_master_key(path)
    second = add_master_key(path)
    assert (first.newest, second.newest) == (1, 2)
    assert second.secret(1, "ak_a") == first.secret(1, "ak_a") != second.secret(2, "ak_a")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_file_readable_by_others_is_rejected(tmp_path: Path, mode: int):
    path = tmp_path / "master.keys"
    add_master_key(path)
    path.chmod(mode)
    with pytest.raises(AssayError, match=r"can be read by others .*chmod 600"):
        read_master_keys(path)


def test_environment_variable_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_MASTER_KEYS", f"1:{HEX},2:{HEX}")
    assert read_master_keys(tmp_path / "none").newest == 2
    with pytest.raises(UsageError, match="in the environment"):
        add_master_key(tmp_path / "none")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1:",
        "1:abcd",
        f"1:{HEX[:-2]}",
        f"0:{HEX}",
        f"-1:{HEX}",
        f"x:{HEX}",
        f"1:{HEX}\n1:{HEX}",
        "1:" + "z" * 64,
    ],
)
def test_malformed_file_is_rejected_without_showing_its_content(tmp_path: Path, text: str):
    path = tmp_path / "master.keys"
    path.write_text(text, encoding="ascii")
    path.chmod(0o600)
    with pytest.raises(AssayError) as error:
        read_master_keys(path)
    assert str(path) in str(error.value)
    assert HEX[:16] not in str(error.value)


def test_binary_or_missing_file_raises(tmp_path: Path):
    path = tmp_path / "master.keys"
    with pytest.raises(AssayError, match="there are no master keys"):
        read_master_keys(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(AssayError, match="does not contain master keys"):
        read_master_keys(path)


def test_repr_does_not_show_secrets():
    assert HEX not in repr(MasterKeys({1: MASTER}))
    assert repr(MasterKeys({1: MASTER, 4: MASTER})) == "MasterKeys(versions=[1, 4])"
