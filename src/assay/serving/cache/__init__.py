"""Answers kept for photos that come again: in process, in Redis, and once for many at a time."""

from assay.serving.cache.base import Cache
from assay.serving.cache.keys import answer_key
from assay.serving.cache.make import make_cache
from assay.serving.cache.settings import CacheSettings
from assay.serving.cache.single_flight import SingleFlight

__all__ = ["Cache", "CacheSettings", "SingleFlight", "answer_key", "make_cache"]
