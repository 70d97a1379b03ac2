"""Where the workers of one server keep their figures together: a folder that goes when the server ends.

Knows nothing of what is counted. prometheus_client keeps the figures of each process in files of its own
there, and adds them up when they are asked for.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.temporary import temporary_folder

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared_figures() -> Iterator[Path]:
    """Let the workers that are started within the block count together.

    For the process that starts them, before it or they import prometheus_client: the library looks at its
    environment once.

    Yields:
        The folder; it is deleted when the block ends.
    """
    before = os.environ.get(VARIABLE)
    with temporary_folder("assay-metrics") as folder:
        os.environ[VARIABLE] = str(folder)
        try:
            yield folder
        finally:
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before


def forget_the_dead(folder: Path) -> None:
    """Delete what workers that are no more said of the present; what they counted stays.

    Args:
        folder: of prometheus_client's files.
    """
    for path in folder.glob("gauge_live*_*.db"):
        if not _alive(int(path.stem.rpartition("_")[2])):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if sys.platform == "win32":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
