"""Commands that start other processes, such as those of Ray: they and their processes end after a hard time limit."""

import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_CALL = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("case", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["case"] = module
spec.loader.exec_module(module)
getattr(module, sys.argv[2])(*sys.argv[3:])
"""


def run_group(
    command: Sequence[object], timeout: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process group of its own, which is killed when it ends or after `timeout` seconds.

    A signal of pytest-timeout cannot interrupt the C++ of Ray or of torch.distributed, a kill can.
    """
    process = subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, errors = process.communicate()
        raise AssertionError(f"not finished after {timeout} s\n{out}\n{errors}") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def call_in_group(function: Callable[..., None], *arguments: object, timeout: float) -> None:
    """Call a function of a test module in a process of its own, as by `run_group`; it fails if the function raises.

    Args:
        function: on the top level of its module.
        arguments: are passed as text.
        timeout: in seconds.
    """
    path = inspect.getsourcefile(function)
    texts = [str(argument) for argument in arguments]
    command = [sys.executable, "-c", _CALL, path, function.__name__, *texts]
    support = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ended = run_group(command, timeout, {"PYTHONPATH": support})
    assert ended.returncode == 0, ended.stdout + ended.stderr
