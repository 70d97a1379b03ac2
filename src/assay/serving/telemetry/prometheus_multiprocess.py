"""The folder in which prometheus_client combines the metrics of several worker processes.

It must not import prometheus_client, which reads the environment once, when it is imported.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.core.files import temporary_folder

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def multiprocess_metrics() -> Iterator[Path]:
    """Combine the metrics of all workers that are started in the block.

    Use it in their parent process, before it or they import prometheus_client.

    Yields:
        The folder of the metrics; it is deleted when the block ends.
    """
    before = os.environ.get(MULTIPROCESS_VARIABLE)
    with temporary_folder("assay-metrics") as folder:
        os.environ[MULTIPROCESS_VARIABLE] = str(folder)
        try:
            yield folder
        finally:
            if before is None:
                del os.environ[MULTIPROCESS_VARIABLE]
            else:
                os.environ[MULTIPROCESS_VARIABLE] = before


def remove_dead_workers(folder: Path) -> None:
    """Delete the gauges of workers that have ended; their counters stay."""
    for path in folder.glob("gauge_live*_*.db"):
        if not _is_running(int(path.stem.rpartition("_")[2])):
            path.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
