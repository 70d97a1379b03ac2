"""The key store: who has which key, with what tier, scopes and end. Holds no secret.

Knows nothing of requests. The store is a small JSON file that is replaced as a whole, under a lock between
commands; a running server notices. Who can write it could make a bronze key gold or a revoked one valid
(never make a new one: that takes the ring), so a store that others may write is refused.
"""

import fcntl
import json
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from assay.errors import AssayError, UsageError
from assay.files import write_text
from assay.recipe.base import Settings
from assay.serving.auth.settings import TierName

STORE_FILE = "keys.json"
SCOPES = ("classify", "metrics", "admin")
Scope = Literal["classify", "metrics", "admin"]
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""No letter that is taken for another when it is read aloud."""


class Key(Settings):
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


Keys = dict[str, Key]
"""Keys by id."""


def new_key_id() -> str:
    """Draw an id of 80 random bits: nobody meets a key by trying ids."""
    return "ak_" + "".join(secrets.choice(_ALPHABET) for _ in range(16))


def read_keys(path: Path) -> Keys:
    """Read a key store; a missing one has no keys.

    Raises:
        AssayError: it is malformed, or others than its owner may write it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        rows = json.loads(path.read_bytes())["keys"]
        keys = [Key.model_validate(row) for row in rows]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, ValidationError):
        raise AssayError(f"{path} is no key store; restore it from your backup") from None
    if mode & 0o022:
        raise AssayError(f"{path} can be written by others (mode {mode:o}); run chmod 644 {path}")
    return {key.id: key for key in keys}


@contextmanager
def changing_keys(path: Path) -> Iterator[Keys]:
    """Give the keys of a store to be changed, and write them when the block ends well.

    Another command that changes the store waits until this one is done.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (path.parent / f".{path.name}.lock").open("a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read_keys(path)
        yield keys
        rows = [key.model_dump(exclude_none=True) for key in keys.values()]
        write_text(path, json.dumps({"keys": rows}, indent=1, ensure_ascii=False) + "\n", mode=0o644)


def find_key(keys: Keys, key_id: str) -> Key:
    """Return a key by its id.

    Raises:
        UsageError: there is no such key.
    """
    if key_id not in keys:
        raise UsageError(f"there is no key {key_id}; assay keys list shows them")
    return keys[key_id]


def make_key(
    client: str,
    tier: str,
    scopes: tuple[str, ...],
    *,
    version: int,
    clock: Callable[[], float],
    seconds: float | None = None,
) -> Key:
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
        return Key.model_validate({"id": new_key_id(), "created": now, "expires": expires, **fields})
    except ValidationError as error:
        wrong = error.errors()[0]["loc"][0]
        what = {
            "client": "a client's name has 1 to 64 letters, digits, spaces or any of . @ + - _",
            "tier": "a tier's name has lower-case letters, digits, - and _, as in gold",
            "scopes": f"a scope is one of {', '.join(SCOPES)}",
        }
        raise UsageError(f"{wrong}: {what.get(str(wrong), 'this cannot be')}") from None
