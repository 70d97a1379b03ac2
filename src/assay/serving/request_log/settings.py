"""Settings of the request log and of the uncertain samples."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from assay.recipe.base import Probability, Settings


class RequestLogSettings(Settings):
    """Bounds of the journal in each worker process."""

    spool: Path | None = None
    """Folder where records wait while the database is away, for all workers that write to one database."""
    spool_megabytes: Annotated[float, Field(gt=0)] = 256.0
    """Largest spool of each worker, in MiB; a record takes about 0.5 kB."""
    queue: Annotated[int, Field(ge=1)] = 20_000
    """Records that wait in memory at most; they are lost when the process is killed."""
    batch: Annotated[int, Field(ge=1)] = 500
    """Records written at a time at most."""
    interval: Annotated[float, Field(ge=0)] = 0.05
    """Seconds that a record waits for others to be written with it."""
    timeout: Annotated[float, Field(gt=0)] = 5.0
    """Seconds that the database has for a batch."""


class UncertainSampleSettings(Settings):
    """Which photos are kept to be labelled by a person."""

    below: Probability = 0.9
    """Photos answered with less confidence are kept, and those called unknown."""
    photos: Annotated[int, Field(ge=1)] = 1000
    """Kept at most; the most confident goes first."""
    megabytes: Annotated[float, Field(gt=0)] = 1024.0
    """Kept at most, in MiB."""
