"""The versioned master keys from which the secret of every API key is derived.

The secret of a key is `HMAC-SHA256(master[version], "version|key id")`. It is shown once and stored nowhere, so that
reading the key file reveals no secret. With the master keys any key can be created, so a file that other users can
read is refused. A version is retired by deleting its line.
"""

import hashlib
import hmac
import os
import secrets
import stat
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from assay.core.errors import AssayError, UsageError
from assay.core.files import write_text

MASTER_KEYS_FILE = "master.keys"
MASTER_KEYS_VARIABLE = "ASSAY_MASTER_KEYS"
"""Holds the master keys as `1:HEX,2:HEX`; takes precedence over the file."""
_MIN_BYTES = 32


class MasterKeys:
    """Master keys by version; the repr shows versions only."""

    def __init__(self, masters: Mapping[int, bytes]) -> None:
        self._masters = dict(masters)

    def __repr__(self) -> str:
        return f"MasterKeys(versions={sorted(self._masters)})"

    @property
    def newest(self) -> int:
        """The version that new API keys use."""
        return max(self._masters)

    def __contains__(self, version: int) -> bool:
        return version in self._masters

    def secret(self, version: int, key_id: str) -> str:
        """Return an API key's secret: 43 characters of URL-safe base64; `KeyError` for an unknown version."""
        message = f"{version}|{key_id}".encode()
        digest = hmac.digest(self._masters[version], message, hashlib.sha256)
        return urlsafe_b64encode(digest).rstrip(b"=").decode()

    def text(self) -> str:
        """Return the content of the file: one line `version:hex` per version."""
        return "".join(f"{version}:{master.hex()}\n" for version, master in sorted(self._masters.items()))

    def with_new_version(self) -> "MasterKeys":
        """Return these keys and a new random one."""
        return MasterKeys({**self._masters, max(self._masters, default=0) + 1: secrets.token_bytes(_MIN_BYTES)})


def read_master_keys(path: Path) -> MasterKeys:
    """Read the master keys from the environment variable `ASSAY_MASTER_KEYS`, else from the file.

    Raises:
        AssayError: there are none, they are malformed, or others than the owner can read the file.
    """
    if given := os.environ.get(MASTER_KEYS_VARIABLE):
        return _parse_master_keys(given, f"the environment's {MASTER_KEYS_VARIABLE}")
    try:
        # The mode of the open file: another process may replace the path meanwhile.
        with path.open(encoding="ascii") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            text = stream.read()
    except FileNotFoundError:
        raise AssayError(f"{path}: there are no master keys; create a key with assay keys create") from None
    except UnicodeDecodeError:
        raise AssayError(f"{path} does not contain master keys; restore it from your backup") from None
    if mode & 0o077:
        raise AssayError(f"{path} can be read by others (mode {mode:o}); run chmod 600 {path}")
    return _parse_master_keys(text, str(path))


def write_master_keys(path: Path, master_keys: MasterKeys) -> None:
    """Write the master keys, readable by the owner only."""
    write_text(path, master_keys.text(), mode=0o600)


def has_master_keys(path: Path) -> bool:
    """Whether there are master keys, in the environment or in the file."""
    return bool(os.environ.get(MASTER_KEYS_VARIABLE)) or path.exists()


def add_master_key(path: Path) -> MasterKeys:
    """Add a version, or create the first one; raise `UsageError` if the master keys are in the environment."""
    if os.environ.get(MASTER_KEYS_VARIABLE):
        raise UsageError(f"the master keys are in the environment; add a version to {MASTER_KEYS_VARIABLE} there")
    master_keys = (read_master_keys(path) if path.exists() else MasterKeys({})).with_new_version()
    write_master_keys(path, master_keys)
    return master_keys


def _parse_master_keys(text: str, where: str) -> MasterKeys:
    masters: dict[int, bytes] = {}
    for line in text.replace(",", "\n").split():
        version, _, digits = line.partition(":")
        try:
            number, master = int(version), bytes.fromhex(digits)
        except ValueError:
            number, master = 0, b""
        # The message must not contain the line: it is a secret.
        if number < 1 or number in masters or len(master) < _MIN_BYTES:
            raise AssayError(f"{where}: a version must be number:hex, once, of at least {_MIN_BYTES} bytes")
        masters[number] = master
    if not masters:
        raise AssayError(f"{where}: there are no master keys; restore the file from your backup")
    return MasterKeys(masters)
