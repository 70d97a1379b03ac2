"""Memory that stays in the process during training and returns to the system afterwards."""

import resource
import sys
from pathlib import Path

import pytest
import torch

from assay.training.heap import _glibc, reuse_freed_memory

MIB = 1 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def allocate_and_free() -> int:
    """Return the page faults of one large tensor."""
    before = page_faults()
    torch.ones(64 * MIB, dtype=torch.uint8)
    return page_faults() - before


@pytest.mark.skipif(_glibc() is None, reason="needs glibc")
def test_freed_memory_is_used_again_and_returned_at_the_end():
    pages = 64 * MIB // resource.getpagesize()
    start = resident_bytes()
    with reuse_freed_memory():
        allocate_and_free()
        assert min(allocate_and_free() for _ in range(5)) < pages / 10
        assert resident_bytes() > start + 50 * MIB
    assert resident_bytes() < start + 20 * MIB


def test_an_error_in_the_block_passes():
    with pytest.raises(KeyError), reuse_freed_memory():
        raise KeyError


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert _glibc() is None
    with reuse_freed_memory():
        pass
