"""The database that an address names, and where records wait for it."""

import hashlib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from assay.errors import AssayError
from assay.files import require_file
from assay.serving.journal.base import Store
from assay.serving.journal.sqlite import SqliteStore

if TYPE_CHECKING:
    from assay.serving.journal.mongo import MongoStore

_MONGO = ("mongodb://", "mongodb+srv://")
_SQLITE = "sqlite:///"


def make_store(url: str, *, keep_days: float | None = None, must_exist: bool = False) -> Store:
    """Return the store at an address; it is not opened yet.

    Args:
        url: mongodb://HOST/DATABASE, mongodb+srv://..., sqlite:///PATH, or the path of an SQLite file.
        keep_days: older records are removed; None: never.
        must_exist: a file that is missing is an error; it is made otherwise.

    Raises:
        UsageError: the address is none, or that of a pipe, a socket or a device.
        AssayError: the file is missing.
    """
    if url.startswith(_MONGO):
        # Its import costs a tenth of a second and 7 MB.
        kind: type[MongoStore] = import_module("assay.serving.journal.mongo").MongoStore
        return kind(SecretStr(url), keep_days=keep_days)
    path = Path(url.removeprefix(_SQLITE))
    require_file(path)
    if must_exist and not path.is_file():
        raise AssayError(f"journal {path} does not exist; name the file or address that `assay serve` writes")
    return SqliteStore(path, keep_days=keep_days)


def spool_name(url: str) -> str:
    """Return the name of a folder for what waits for this database: another one for each, without secrets."""
    if not url.startswith(_MONGO):
        url = str(Path(url.removeprefix(_SQLITE)).absolute())
    parts = urlsplit(url)
    place = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    return hashlib.sha256(place.encode()).hexdigest()[:16]
