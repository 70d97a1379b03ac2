"""The program as a process: `python -m assay`, and Ctrl-C while it still imports."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import assay


def test_module_is_the_program():
    command = [sys.executable, "-m", "assay", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"assay {assay.__version__}\n")


def test_ctrl_c_during_imports_is_one_line(tmp_path: Path):
    (tmp_path / "typer.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    source = str(Path(assay.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), source])}
    with subprocess.Popen(
        [sys.executable, "-m", "assay", "--version"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "assay: interrupted\n")
