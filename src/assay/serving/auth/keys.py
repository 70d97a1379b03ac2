"""API keys: the key file, reloading it when it changes, and creating, rotating and revoking keys."""

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
    """The contents of a file as they are now."""

    def __init__(self, path: Path, load: Callable[[Path], _T], clock: Callable[[], float]) -> None:
        """Read the file for the first time.

        Args:
            path: the file.
            load: reads it.
            clock: seconds that never go back.

        Raises:
            AssayError: `load` finds the file wrong, now; later on that is only logged.
        """
        self._path, self._load, self._clock = path, load, clock
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._value = load(path)
        self._looked = clock()

    def value(self) -> _T:
        """Return what the file holds; at most a second old."""
        now = self._clock()
        if now - self._looked >= 1 and self._lock.acquire(blocking=False):
            try:
                self._looked = now
                self._refresh()
            finally:
                self._lock.release()
        return self._value

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._value = self._load(self._path)
        except (AssayError, OSError) as error:
            _log.error("%s; what it held before stays in use", error)

    def _look(self) -> _FileStamp:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


KEYS_FILE = "keys.json"
SCOPES = ("classify", "metrics", "admin")
Scope = Literal["classify", "metrics", "admin"]
_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""No letter that is taken for another when it is read aloud."""


class ApiKey(Settings):
    """A key, without its secret."""

    id: Annotated[str, Field(pattern=r"^ak_[a-z0-9]{16}$")]
    """Names the key; public."""
    client: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.@+-][\w .@+-]*$")]
    """Whom the key was made for."""
    tier: TierName
    """How often the client may ask."""
    scopes: tuple[Scope, ...]
    """What the client may ask for."""
    version: Annotated[int, Field(ge=1)]
    """Version of the master that the secret is derived from."""
    created: int
    """When the key was made, in seconds since 1970."""
    expires: int | None = None
    """When it ends, in seconds since 1970; none: never."""
    revoked: int | None = None
    """When it was revoked, in seconds since 1970."""

    def state(self, now: float) -> Literal["valid", "revoked", "expired"]:
        """Tell whether the key opens anything at a time, in seconds since 1970."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "valid"


ApiKeys = dict[str, ApiKey]
"""Keys by id."""


def new_key_id() -> str:
    """Draw an id of 80 random bits: nobody meets a key by trying ids."""
    return "ak_" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(16))


def read_keys(path: Path) -> ApiKeys:
    """Read a key store; a missing one has no keys.

    Raises:
        AssayError: it is malformed, or others than its owner may write it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        rows = json.loads(path.read_bytes())["keys"]
        keys = [ApiKey.model_validate(row) for row in rows]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, ValidationError):
        raise AssayError(f"{path} is no key store; restore it from your backup") from None
    if mode & 0o022:
        raise AssayError(f"{path} can be written by others (mode {mode:o}); run chmod 644 {path}")
    return {key.id: key for key in keys}


@contextmanager
def edit_keys(path: Path) -> Iterator[ApiKeys]:
    """Give the keys of a store to be changed, and write them when the block ends well.

    Another command that changes the store waits until this one is done.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file_lock(path.parent / f".{path.name}.lock"):
        keys = read_keys(path)
        yield keys
        rows = [key.model_dump(exclude_none=True) for key in keys.values()]
        write_text(path, json.dumps({"keys": rows}, indent=1, ensure_ascii=False) + "\n", mode=0o644)


def find_key(keys: ApiKeys, key_id: str) -> ApiKey:
    """Return a key by its id.

    Raises:
        UsageError: there is no such key.
    """
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
    """Return a new key.

    Args:
        client: whom it is for.
        tier: how often the client may ask.
        scopes: of `SCOPES`.
        version: of the master ring.
        clock: seconds since 1970.
        seconds: how long it is valid; none: until it is revoked.

    Raises:
        UsageError: the client's name or a scope cannot be.
    """
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
        raise UsageError(f"{wrong}: {what.get(str(wrong), 'this cannot be')}") from None


class KeyManager:
    """A folder of keys."""

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """Take the folder; none: `default_keys_folder()`.

        Args:
            folder: where `keys.json` and `master.ring` are, or will be.
            clock: seconds since 1970.
        """
        folder = folder or default_keys_folder()
        self._store, self._ring, self._clock = folder / KEYS_FILE, folder / MASTER_KEYS_FILE, clock

    def all_keys(self) -> list[ApiKey]:
        """Return all keys, oldest first."""
        return list(read_keys(self._store).values())

    def state(self, key: ApiKey) -> str:
        """Tell whether a key is valid, revoked or expired now."""
        return key.state(self._clock())

    def token(self, key: ApiKey) -> str:
        """Return what a client shows: the key's id and its secret, joined by a point."""
        return f"{key.id}.{read_master_keys(self._ring).secret(key.version, key.id)}"

    def create(self, client: str, tier: str, scopes: tuple[str, ...], seconds: float | None = None) -> ApiKey:
        """Make a key, and the master ring with the first.

        Args:
            client: whom it is for.
            tier: how often the client may ask.
            scopes: what it opens.
            seconds: how long it is valid; none: until it is revoked.

        Raises:
            UsageError: a value cannot be.
        """
        with edit_keys(self._store) as keys:
            version = self._ring_or_first().newest
            key = create_key(client, tier, scopes, version=version, clock=self._clock, seconds=seconds)
            keys[key.id] = key
        return key

    def rotate(self, key_id: str, grace: float) -> ApiKey:
        """Replace a key by a new one for the same client; the old one ends after `grace` seconds.

        The new key is valid for as long as the old one was made for. An expired key can be replaced
        too, and stays what it is.

        Raises:
            UsageError: there is no such key, or it was revoked.
        """
        with edit_keys(self._store) as keys:
            old, now = find_key(keys, key_id), self._clock()
            if old.revoked is not None:
                raise UsageError(f"key {key_id} was revoked: make a new one with `assay keys create`")
            seconds = None if old.expires is None else old.expires - old.created
            version = self._ring_or_first().newest
            new = create_key(old.client, old.tier, old.scopes, version=version, clock=self._clock, seconds=seconds)
            end = int(now + grace)
            keys[old.id] = old.model_copy(update={"expires": min(end, old.expires or end)})
            keys[new.id] = new
        return new

    def revoke(self, key_id: str) -> ApiKey:
        """Revoke a key; once more changes nothing.

        Raises:
            UsageError: there is no such key.
        """
        with edit_keys(self._store) as keys:
            key = find_key(keys, key_id)
            if key.revoked is None:
                keys[key_id] = key = key.model_copy(update={"revoked": int(self._clock())})
        return key

    def renew_master(self) -> int:
        """Add a master to the ring and return its version; keys made before go on until they are rotated.

        Raises:
            UsageError: the ring is in the environment.
        """
        with edit_keys(self._store):
            return add_master_key(self._ring).newest

    def _ring_or_first(self) -> MasterKeys:
        return read_master_keys(self._ring) if has_master_keys(self._ring) else add_master_key(self._ring)
