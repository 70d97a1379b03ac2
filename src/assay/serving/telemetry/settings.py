"""Settings of logs and drift detection."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from assay.recipe.base import Settings

LogLevel = Literal["debug", "info", "warning", "error"]


class TelemetrySettings(Settings):
    """Where logs go and what drift is judged by. Traces are set by the usual `OTEL_*` variables."""

    log_dir: Path | None = None
    """Folder for the request log and the error log; None: both go to the standard streams."""
    log_level: LogLevel = "info"
    """Least severe lines that are kept. A request's line is info below status 400, warning below 500, else
    error."""
    log_megabytes: Annotated[float, Field(gt=0)] = 32.0
    """A log file is put aside when it has grown to this size, in MiB."""
    log_files: Annotated[int, Field(ge=1)] = 5
    """Files put aside, of each log; older ones are deleted."""
    drift_window: Annotated[int, Field(ge=100)] = 1000
    """Latest answers of each worker and model that are compared with validation."""
