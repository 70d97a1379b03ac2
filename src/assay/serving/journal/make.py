"""The database that an address names, and the journal that settings ask for."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from assay.errors import AssayError
from assay.serving.journal.base import Store
from assay.serving.journal.journal import Journal
from assay.serving.journal.settings import JournalSettings
from assay.serving.journal.sqlite import SqliteStore
from assay.serving.watching.base import Watcher

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
        UsageError: the address is none.
        AssayError: the file is missing.
    """
    if url.startswith(_MONGO):
        # Its import costs a tenth of a second and 7 MB.
        kind: type[MongoStore] = import_module("assay.serving.journal.mongo").MongoStore
        return kind(SecretStr(url), keep_days=keep_days)
    path = Path(url.removeprefix(_SQLITE))
    if must_exist and not path.is_file():
        raise AssayError(f"journal {path} does not exist; name the file or address that `assay serve` writes")
    return SqliteStore(path, keep_days=keep_days)


def make_journal(settings: JournalSettings, watcher: Watcher, folder: Path) -> Journal:
    """Return the journal of one worker; it is not started yet.

    Args:
        settings: where to, and how much may wait.
        watcher: told of the backlog and of outages.
        folder: of the server, shared by its workers: SQLite's file and the spool lie there by default.

    Raises:
        UsageError: the address is none.
    """
    url = settings.url.get_secret_value() if settings.url else str(folder / "journal.sqlite")
    spool = settings.spool or folder / "spool"
    store = make_store(url, keep_days=settings.keep_days)
    return Journal(store, settings.model_copy(update={"spool": spool}), watcher)
