"""Threads that calculate step back behind the one that talks to clients."""

import os
import subprocess
import sys
import threading

import pytest

from assay.serving.batching import compute_executor


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_calculating_threads_leave_the_processor_to_others():
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with compute_executor(1, "assay-test") as pool:
        assert pool.submit(priority).result() == min(19, priority() + 5)


_SCRIPT = """
import sys, time
from assay.serving.batching import calculating, exit_past
pool = calculating(2, "assay-decode")
pool.submit(time.sleep, float(sys.argv[1]))
time.sleep(0.2)
pool.shutdown(wait=False, cancel_futures=True)
print("written", flush=False)
exit_past("assay-decode", 0.3)
print("returned")
"""


@pytest.mark.parametrize(("seconds", "said"), [(60, "written\n"), (0, "written\nreturned\n")])
def test_a_process_ends_although_a_thread_works_on(seconds, said):
    command = [sys.executable, "-c", _SCRIPT, str(seconds)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == said
