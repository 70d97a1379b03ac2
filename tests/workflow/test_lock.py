"""One process at a time, and a lock that goes with its process."""

import subprocess
import sys
from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.pipeline.run_folder import folder_lock

_HOLD = """
import sys
from pathlib import Path
from assay.pipeline.run_folder import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path):
    path = tmp_path / "folder" / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another process is using"), folder_lock(path):
            pytest.fail("two at once")
        holder.kill()
    with folder_lock(path, patience=10):
        assert path.exists()


def test_it_can_be_taken_again(tmp_path: Path):
    for _ in range(2):
        with folder_lock(tmp_path / ".lock"):
            assert (tmp_path / ".lock").exists()
