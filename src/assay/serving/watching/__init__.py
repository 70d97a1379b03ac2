"""Metrics, drift, logs and traces of a running service.

`shared_figures` and `WatchSettings` come without prometheus_client, which must not be imported before the
block begins; `make_watcher` is in `assay.serving.watching.watching`.
"""

from assay.serving.watching.base import Watcher
from assay.serving.watching.folder import shared_figures
from assay.serving.watching.settings import Level, WatchSettings

__all__ = ["Level", "WatchSettings", "Watcher", "shared_figures"]
