"""Settings of the result cache."""

from typing import Annotated

from pydantic import Field, SecretStr

from assay.recipe.base import Settings


class CacheSettings(Settings):
    """Bounds of the cache in process, and the Redis behind it."""

    entries: Annotated[int, Field(ge=0)] = 10_000
    """Answers kept in each process at most; 0: none."""
    megabytes: Annotated[float, Field(gt=0)] = 64.0
    """Memory of each process for answers at most, in MiB."""
    ttl: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds that an answer is kept, in process and in Redis."""
    redis: SecretStr | None = None
    """Address of a Redis shared by all processes: redis://, rediss:// or unix://. Give that Redis a
    `maxmemory` and the policy allkeys-lru."""
    timeout: Annotated[float, Field(gt=0, le=1)] = 0.02
    """Seconds that a request waits for Redis at most, once to look and once to keep."""
