"""The versioned master keys from which the secret of every API key is derived."""

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

MASTER_KEYS_FILE = "master.ring"
MASTER_KEYS_VARIABLE = "ASSAY_MASTER_RING"
"""Holds the ring itself, as `1:HEX,2:HEX`; goes before the file."""
_MIN_BYTES = 32


class MasterKeys:
    """Master secrets by version. Never printed: its repr names versions only."""

    def __init__(self, masters: Mapping[int, bytes]) -> None:
        """Take masters of at least 32 bytes by version, at least one."""
        self._masters = dict(masters)

    def __repr__(self) -> str:
        return f"Ring(versions={sorted(self._masters)})"

    @property
    def newest(self) -> int:
        """The version that new keys are made with."""
        return max(self._masters)

    def __contains__(self, version: int) -> bool:
        return version in self._masters

    def secret(self, version: int, key_id: str) -> str:
        """Return a key's secret: 43 characters of URL-safe base64, 256 bits.

        Raises:
            KeyError: the ring has no such version.
        """
        message = f"{version}|{key_id}".encode()
        digest = hmac.digest(self._masters[version], message, hashlib.sha256)
        return urlsafe_b64encode(digest).rstrip(b"=").decode()

    def text(self) -> str:
        """Return the ring as it is written to its file: a line `version:hex` each."""
        return "".join(f"{version}:{master.hex()}\n" for version, master in sorted(self._masters.items()))

    def renewed(self) -> "MasterKeys":
        """Return a ring with one more version, drawn from the system's randomness."""
        return MasterKeys({**self._masters, max(self._masters, default=0) + 1: secrets.token_bytes(_MIN_BYTES)})


def read_master_keys(path: Path) -> MasterKeys:
    """Read the ring from the environment `ASSAY_MASTER_RING`, else from its file.

    Raises:
        AssayError: there is none, it is malformed, or others than its owner may read the file.
    """
    if given := os.environ.get(MASTER_KEYS_VARIABLE):
        return _parse_master_keys(given, f"the environment's {MASTER_KEYS_VARIABLE}")
    try:
        # The mode is that of the very file that is read, not of what another process put in its place
        # meanwhile.
        with path.open(encoding="ascii") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            text = stream.read()
    except FileNotFoundError:
        raise AssayError(f"{path}: there is no master ring; make a key with assay keys create") from None
    except UnicodeDecodeError:
        raise AssayError(f"{path} is no master ring; restore it from your backup") from None
    if mode & 0o077:
        raise AssayError(f"{path} can be read by others (mode {mode:o}); run chmod 600 {path}")
    return _parse_master_keys(text, str(path))


def write_master_keys(path: Path, ring: MasterKeys) -> None:
    """Write the ring, for its owner alone."""
    write_text(path, ring.text(), mode=0o600)


def has_master_keys(path: Path) -> bool:
    """Tell whether there is a ring, in the environment or in its file."""
    return bool(os.environ.get(MASTER_KEYS_VARIABLE)) or path.exists()


def add_master_key(path: Path) -> MasterKeys:
    """Add a version to the ring, or make the first.

    Raises:
        UsageError: the ring is in the environment.
    """
    if os.environ.get(MASTER_KEYS_VARIABLE):
        raise UsageError(f"the ring is in the environment; add a version to {MASTER_KEYS_VARIABLE} there")
    ring = (read_master_keys(path) if path.exists() else MasterKeys({})).renewed()
    write_master_keys(path, ring)
    return ring


def _parse_master_keys(text: str, where: str) -> MasterKeys:
    masters: dict[int, bytes] = {}
    for line in text.replace(",", "\n").split():
        version, _, digits = line.partition(":")
        try:
            number, master = int(version), bytes.fromhex(digits)
        except ValueError:
            number, master = 0, b""
        # Neither the line nor its length is told: it is a secret.
        if number < 1 or number in masters or len(master) < _MIN_BYTES:
            raise AssayError(f"{where}: a version must be number:hex, once, of at least {_MIN_BYTES} bytes")
        masters[number] = master
    if not masters:
        raise AssayError(f"{where}: the master ring is empty; restore it from your backup")
    return MasterKeys(masters)
