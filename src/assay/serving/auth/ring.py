"""The master ring: the secrets from which every key's secret is derived.

Knows nothing of clients. A key's secret is `HMAC-SHA256(master[version], "version|key id")`: it is shown
once, when the key is made, and stored nowhere, so who reads the key store learns no secret. Who reads the
ring can make any key: a ring that others may read is refused. A new version is added to the ring from time to
time; keys name the version that they were made with, and a version is dropped by taking its line out.
"""

import hashlib
import hmac
import os
import secrets
import stat
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from assay.errors import AssayError, UsageError
from assay.files import write_text

RING_FILE = "master.ring"
ENVIRONMENT = "ASSAY_MASTER_RING"
"""Holds the ring itself, as `1:HEX,2:HEX`; goes before the file."""
_LEAST_BYTES = 32


class Ring:
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

    def renewed(self) -> "Ring":
        """Return a ring with one more version, drawn from the system's randomness."""
        return Ring({**self._masters, max(self._masters, default=0) + 1: secrets.token_bytes(_LEAST_BYTES)})


def read_ring(path: Path) -> Ring:
    """Read the ring from the environment `ASSAY_MASTER_RING`, else from its file.

    Raises:
        AssayError: there is none, it is malformed, or others than its owner may read the file.
    """
    if given := os.environ.get(ENVIRONMENT):
        return _parse(given, f"the environment's {ENVIRONMENT}")
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
    return _parse(text, str(path))


def write_ring(path: Path, ring: Ring) -> None:
    """Write the ring, for its owner alone."""
    write_text(path, ring.text(), mode=0o600)


def has_ring(path: Path) -> bool:
    """Tell whether there is a ring, in the environment or in its file."""
    return bool(os.environ.get(ENVIRONMENT)) or path.exists()


def renew_ring(path: Path) -> Ring:
    """Add a version to the ring, or make the first.

    Raises:
        UsageError: the ring is in the environment.
    """
    if os.environ.get(ENVIRONMENT):
        raise UsageError(f"the ring is in the environment; add a version to {ENVIRONMENT} there")
    ring = (read_ring(path) if path.exists() else Ring({})).renewed()
    write_ring(path, ring)
    return ring


def _parse(text: str, where: str) -> Ring:
    masters: dict[int, bytes] = {}
    for line in text.replace(",", "\n").split():
        version, _, digits = line.partition(":")
        try:
            number, master = int(version), bytes.fromhex(digits)
        except ValueError:
            number, master = 0, b""
        # Neither the line nor its length is told: it is a secret.
        if number < 1 or number in masters or len(master) < _LEAST_BYTES:
            raise AssayError(f"{where}: a version must be number:hex, once, of at least {_LEAST_BYTES} bytes")
        masters[number] = master
    if not masters:
        raise AssayError(f"{where}: the master ring is empty; restore it from your backup")
    return Ring(masters)
