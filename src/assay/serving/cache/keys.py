"""Under which name an answer is kept: all that it depends on."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache

from assay.image import PIXELS_VERSION

_LAYOUT = 3  # another one when the meaning of the values changes


def answer_key(sha256: str, model_version: str, options: Mapping[str, str | float | bool | None]) -> str:
    """Return the key of one answer: equal for equal photos, models and options, and else different.

    Args:
        sha256: of the uploaded bytes, 64 hexadecimal digits.
        model_version: of the bundle; it covers weights, preprocessing, classes, temperature and limits.
        options: whatever else shapes the answer, such as `detail` and `explain`; their order does not count.
    """
    return f"{_prefix(repr((model_version, sorted(options.items()))))}:{sha256}"


@lru_cache(maxsize=64)
def _prefix(canonical: str) -> str:
    return f"assay:{_LAYOUT}.{PIXELS_VERSION}:{hashlib.sha256(canonical.encode()).hexdigest()[:32]}"
