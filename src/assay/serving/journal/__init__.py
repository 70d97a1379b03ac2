"""Every request recorded, written behind the answers; SQLite by default, MongoDB by its address."""

from assay.serving.journal.base import Query, Store, StoreError
from assay.serving.journal.journal import Journal
from assay.serving.journal.make import make_store, spool_name
from assay.serving.journal.settings import JournalSettings, UncertainSettings
from assay.serving.journal.uncertain import UncertainPhotos

__all__ = [
    "Journal",
    "JournalSettings",
    "Query",
    "Store",
    "StoreError",
    "UncertainPhotos",
    "UncertainSettings",
    "make_store",
    "spool_name",
]
