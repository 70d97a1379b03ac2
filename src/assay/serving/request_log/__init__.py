"""The request log: a record of every request in SQLite or MongoDB.

Uncertain photos kept for labelling.
"""

from assay.serving.request_log.background_writer import RequestLogWriter
from assay.serving.request_log.settings import RequestLogSettings, UncertainSampleSettings
from assay.serving.request_log.stores import (
    RecordQuery,
    RecordStore,
    StoreUnavailableError,
    make_store,
    spool_folder_name,
)
from assay.serving.request_log.uncertain_samples import UncertainSampleStore

__all__ = [
    "RecordQuery",
    "RecordStore",
    "RequestLogSettings",
    "RequestLogWriter",
    "StoreUnavailableError",
    "UncertainSampleSettings",
    "UncertainSampleStore",
    "make_store",
    "spool_folder_name",
]
