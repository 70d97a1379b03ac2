"""API keys: the key file, reloading it when it changes, and creating, rotating and revoking keys.

The key file is JSON without secrets, replaced as a whole under a lock. Anyone who can write it could promote or restore
an existing key (a new one takes the master keys), so a file that others can write is refused.
"""

import json
import logging
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, ValidationError

from assay.core.errors import AssayError, UsageError
from assay.core.files import write_text
from assay.core.locks import file_lock
from assay.recipe.base import Settings
from assay.serving.auth.master_keys import (
    MASTER_KEYS_FILE,
    MasterKeys,
    add_master_key,
    has_master_keys,
    read_master_keys,
)
from assay.serving.auth.settings import TierName, default_keys_folder

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_FileStamp = tuple[int, int, int] | None


class ReloadingFile(Generic[_T]):
    """The parsed content of a file, reloaded when it changes, checked at most once per second.

    If a changed file is invalid, the last valid content stays in use and the error is logged.
    """

    def __init__(self, path: Path, load: Callable[[Path], _T], clock: Callable[[], float]) -> None:
        """Read the file; raise `AssayError` if it is invalid. `clock` returns monotonic seconds."""
        self._path, self._load, self._clock = path, load, clock
        self._lock = threading.Lock()
        self._stamp = self._read_stamp()
        self._value = load(path)
        self._checked = clock()

    def value(self) -> _T:
        """Return the content, at most one second old."""
        now = self._clock()
        if now - self._checked >= 1 and self._lock.acquire(blocking=False):
            try:
                self._checked = now
                self._refresh()
            finally:
                self._lock.release()
        return self._value

    def _refresh(self) -> None:
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._value = self._load(self._path)
        except (AssayError, OSError) as error:
            _log.error("%s; the previous content stays in use", error)

    def _read_stamp(self) -> _FileStamp:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


KEYS_FILE = "keys.json"
SCOPES = ("classify", "metrics", "admin")
Scope = Literal["classify", "metrics", "admin"]
_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without characters that are easily confused."""


class ApiKey(Settings):
    """An API key, without its secret."""

    id: Annotated[str, Field(pattern=r"^ak_[a-z0-9]{16}$")]
    """Public."""
    client: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.@+-][\w .@+-]*$")]
    """Name of its owner."""
    tier: TierName
    """Name of its rate-limit tier."""
    scopes: tuple[Scope, ...]
    version: Annotated[int, Field(ge=1)]
    """Version of the master key that the secret is derived from."""
    created: int
    """Seconds since 1970."""
    expires: int | None = None
    """Seconds since 1970; None: never."""
    revoked: int | None = None
    """Seconds since 1970; None: not revoked."""

    def state(self, now: float) -> Literal["valid", "revoked", "expired"]:
        """Return the state at a time in seconds since 1970."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "valid"


ApiKeys = dict[str, ApiKey]
"""Keys by id."""


def new_key_id() -> str:
    """Return an id with 80 random bits, so that ids cannot be guessed."""
    return "ak_" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(16))


def read_api_keys(path: Path) -> ApiKeys:
    """Read a key file, which may be missing; raise `AssayError` if it is malformed or others can write it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        rows = json.loads(path.read_bytes())["keys"]
        keys = [ApiKey.model_validate(row) for row in rows]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, ValidationError):
        raise AssayError(f"{path} is not a key file; restore it from your backup") from None
    if mode & 0o022:
        raise AssayError(f"{path} can be written by others (mode {mode:o}); run chmod 644 {path}")
    return {key.id: key for key in keys}


@contextmanager
def edit_keys(path: Path) -> Iterator[ApiKeys]:
    """Read the keys, and write them back when the block ends without an exception; other writers wait."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file_lock(path.parent / f".{path.name}.lock"):
        keys = read_api_keys(path)
        yield keys
        rows = [key.model_dump(exclude_none=True) for key in keys.values()]
        write_text(path, json.dumps({"keys": rows}, indent=1, ensure_ascii=False) + "\n", mode=0o644)


def find_key(keys: ApiKeys, key_id: str) -> ApiKey:
    """Return a key by its id; raise `UsageError` if there is none."""
    if key_id not in keys:
        raise UsageError(f"there is no key {key_id}; assay keys list shows them")
    return keys[key_id]


def create_key(
    client: str,
    tier: str,
    scopes: tuple[str, ...],
    *,
    version: int,
    clock: Callable[[], float],
    seconds: float | None = None,
) -> ApiKey:
    """Return a new key of the master key `version`, valid for `seconds`; raise `UsageError` for an invalid value."""
    now = int(clock())
    expires = None if seconds is None else int(now + seconds)
    fields = {"client": client, "tier": tier, "scopes": scopes, "version": version}
    try:
        return ApiKey.model_validate({"id": new_key_id(), "created": now, "expires": expires, **fields})
    except ValidationError as error:
        wrong = error.errors()[0]["loc"][0]
        what = {
            "client": "a client's name has 1 to 64 letters, digits, spaces or any of . @ + - _",
            "tier": "a tier's name has lower-case letters, digits, - and _, as in gold",
            "scopes": f"a scope is one of {', '.join(SCOPES)}",
        }
        raise UsageError(f"{wrong}: {what.get(str(wrong), 'invalid value')}") from None


class KeyManager:
    """Creates, lists, rotates and revokes the API keys of a folder."""

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """`folder` contains `keys.json` and `master.keys`; None: `default_keys_folder()`."""
        folder = folder or default_keys_folder()
        self._keys_path, self._master_keys_path, self._clock = folder / KEYS_FILE, folder / MASTER_KEYS_FILE, clock

    def list_keys(self) -> list[ApiKey]:
        """Return all keys, oldest first."""
        return list(read_api_keys(self._keys_path).values())

    def state(self, key: ApiKey) -> str:
        """Return whether a key is valid, revoked or expired now."""
        return key.state(self._clock())

    def token(self, key: ApiKey) -> str:
        """Return the bearer token: id and secret, joined by a dot."""
        return f"{key.id}.{read_master_keys(self._master_keys_path).secret(key.version, key.id)}"

    def create(self, client: str, tier: str, scopes: tuple[str, ...], seconds: float | None = None) -> ApiKey:
        """Create a key that is valid for `seconds` (None: unlimited), and the first master key if there is none.

        Raises:
            UsageError: a value is invalid.
        """
        with edit_keys(self._keys_path) as keys:
            version = self._master_keys().newest
            key = create_key(client, tier, scopes, version=version, clock=self._clock, seconds=seconds)
            keys[key.id] = key
        return key

    def rotate(self, key_id: str, grace: float) -> ApiKey:
        """Replace a key by a new one with the same client and lifetime; the old one expires after `grace` seconds.

        An expired key stays expired. Raises `UsageError` if there is no such key or it was revoked.
        """
        with edit_keys(self._keys_path) as keys:
            old, now = find_key(keys, key_id), self._clock()
            if old.revoked is not None:
                raise UsageError(f"key {key_id} was revoked: create a new one with `assay keys create`")
            seconds = None if old.expires is None else old.expires - old.created
            version = self._master_keys().newest
            new = create_key(old.client, old.tier, old.scopes, version=version, clock=self._clock, seconds=seconds)
            end = int(now + grace)
            keys[old.id] = old.model_copy(update={"expires": min(end, old.expires or end)})
            keys[new.id] = new
        return new

    def revoke(self, key_id: str) -> ApiKey:
        """Revoke a key, if it is not revoked; raise `UsageError` if there is no such key."""
        with edit_keys(self._keys_path) as keys:
            key = find_key(keys, key_id)
            if key.revoked is None:
                keys[key_id] = key = key.model_copy(update={"revoked": int(self._clock())})
        return key

    def add_master_key(self) -> int:
        """Add a master key and return its version; existing API keys stay valid.

        Raises:
            UsageError: the master keys are in the environment.
        """
        with edit_keys(self._keys_path):
            return add_master_key(self._master_keys_path).newest

    def _master_keys(self) -> MasterKeys:
        path = self._master_keys_path
        return read_master_keys(path) if has_master_keys(path) else add_master_key(path)
