"""Reuse of freed memory by glibc's allocator during training on the CPU."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_MIB = 1 << 20
_DURING_TRAINING = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 * _MIB}
_AFTERWARDS = {_M_MMAP_MAX: 65_536, _M_TRIM_THRESHOLD: 64 * _MIB, _M_TOP_PAD: _MIB // 8, _M_MMAP_THRESHOLD: 32 * _MIB}
"""The defaults; of the two thresholds that glibc adapts, until the first call of mallopt, the largest values."""


@contextmanager
def reuse_freed_memory() -> Iterator[None]:
    """Keep freed memory in the process within the block, and return it to the system afterwards.

    By default glibc maps every tensor above 32 MB anew and unmaps it when it is freed. Every page is then cleared and
    mapped by the kernel again in every step, which takes up to a quarter of the time of training. The allocator's
    settings apply to the whole process. Without glibc this does nothing.

    Source: mallopt(3).
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _set_options(libc, _DURING_TRAINING)
    try:
        yield
    finally:
        _set_options(libc, _AFTERWARDS)
        libc.malloc_trim(0)


def _glibc() -> Any:
    """Return the C library of this process if it is glibc, else None."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _set_options(libc: Any, options: dict[int, int]) -> None:
    for name, value in options.items():
        libc.mallopt(name, value)
