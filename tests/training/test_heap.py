"""Memory that stays in the process during training and returns to the system afterwards."""

import json
import resource
import subprocess
import sys

import pytest

from assay.training.heap import _glibc, reuse_freed_memory

MIB = 1 << 20


_MEASURE = """
import json, resource
from pathlib import Path
import torch
from assay.training.heap import reuse_freed_memory

PAGE = resource.getpagesize()

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE

def allocate_and_free(size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(size, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

start = resident()
with reuse_freed_memory():
    allocate_and_free(64 << 20)
    # Each is smaller than the one before: an aligned block needs a little more than a freed one of the same size has.
    faults = max(allocate_and_free((64 << 20) - (number << 16)) for number in range(1, 6))
    during = resident() - start
print(json.dumps({"faults": faults, "during": during, "after": resident() - start}))
"""


@pytest.mark.skipif(_glibc() is None, reason="needs glibc")
def test_freed_memory_is_used_again_and_returned_at_the_end():
    # In a process of its own: the heap of one that has run other tests has free memory of its own.
    ended = subprocess.run([sys.executable, "-c", _MEASURE], capture_output=True, text=True, check=True, timeout=120)
    measured = json.loads(ended.stdout)
    assert measured["faults"] < 64 * MIB / resource.getpagesize() / 10
    assert measured["during"] > 50 * MIB
    assert measured["after"] < 20 * MIB


def test_an_error_in_the_block_passes():
    with pytest.raises(KeyError), reuse_freed_memory():
        raise KeyError


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert _glibc() is None
    with reuse_freed_memory():
        pass
