"""What the benchmarks read about processes."""

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.conftest import load_benchmark


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return load_benchmark("processes")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_process(processes: ModuleType):
    now, peak = (processes.memory(os.getpid(), kind) for kind in ("VmRSS", "VmHWM"))
    assert 1 << 20 < now <= peak < 1 << 40
    with pytest.raises(processes.BenchmarkError, match="does not report VmNone"):
        processes.memory(os.getpid(), "VmNone")
