"""Cache of classification results."""

from assay.serving.cache.settings import CacheSettings
from assay.serving.cache.single_flight import SingleFlight
from assay.serving.cache.tiered_cache import Cache, cache_key, make_cache

__all__ = ["Cache", "CacheSettings", "SingleFlight", "cache_key", "make_cache"]
