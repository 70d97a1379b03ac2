"""Threads that calculate step back behind the one that talks to clients."""

import os
import sys
import threading

import pytest

from assay.serving.threads import calculating


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_calculating_threads_leave_the_processor_to_others():
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with calculating(1, "assay-test") as pool:
        assert pool.submit(priority).result() == min(19, priority() + 5)
