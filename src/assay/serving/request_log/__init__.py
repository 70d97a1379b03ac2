"""The request log: a record of every request in SQLite or MongoDB, and uncertain photos kept for labelling."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from assay.recipe.base import Probability, Settings


def state_dir() -> Path:
    """Return the folder of the server's own files: `ASSAY_STATE`, else `assay` in the user's state folder."""
    if named := os.environ.get("ASSAY_STATE"):
        return Path(named)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "assay"


def default_request_log() -> Path:
    """Return the SQLite file of the request log unless another database is configured."""
    return state_dir() / "requests.sqlite"


class RequestLogSettings(Settings):
    """The database of the request log, and the buffers of each worker process."""

    url: SecretStr | None = None
    """Database that every request is recorded in: an SQLite file or mongodb://HOST/DATABASE; none: requests are
    not recorded. Unset: the file requests.sqlite in the folder `ASSAY_STATE`, usually ~/.local/state/assay."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")] | None = None
    """Name of the region of this server, recorded with every request; lower-case letters, digits and hyphens. Unset:
    none is recorded."""
    keep_days: Annotated[float, Field(gt=0)] | None = None
    """Days after which records are deleted; unset: never."""
    spool_dir: Path | None = None
    """Folder for records while the database is unavailable, shared by all workers that write to one database."""
    spool_megabytes: Annotated[float, Field(gt=0)] = 256.0
    """Largest spool of each worker, in MiB; a record takes about 0.5 kB."""
    queue_size: Annotated[int, Field(ge=1)] = 20_000
    """Maximum number of records waiting in memory; they are lost when the process is killed."""
    batch_size: Annotated[int, Field(ge=1)] = 500
    """Maximum number of records per write."""
    flush_interval: Annotated[float, Field(ge=0)] = 0.05
    """Seconds that a record waits for others to be written with it."""
    write_timeout: Annotated[float, Field(gt=0)] = 5.0
    """Seconds that the database has for one batch."""

    @property
    def database(self) -> str | None:
        """Path or URL of the database; None if requests are not recorded."""
        if self.url is None:
            return str(default_request_log())
        url = self.url.get_secret_value()
        return None if url == "none" else url

    @property
    def description(self) -> str:
        """A sentence that says where requests are recorded, without a password."""
        database = self.database
        if database is None:
            return "requests are not recorded"
        if database.startswith("mongodb"):
            return "requests are recorded in MongoDB"
        command = "assay request-log" if self.url is None else f"assay request-log {database}"
        return f"requests are recorded in {database}; list them: {command}"


class UncertainSampleSettings(Settings):
    """Photos with uncertain predictions that are kept for labelling."""

    folder: Path | None = None
    """Folder for these photos; unset: no photo is kept."""
    max_confidence: Probability = 0.9
    """Photos with a lower confidence are kept, and those for which the model abstained."""
    max_photos: Annotated[int, Field(ge=1)] = 1000
    """Maximum number of photos; the most confident one is deleted first."""
    max_megabytes: Annotated[float, Field(gt=0)] = 1024.0
    """Maximum size of all photos, in MiB."""
