"""Processes that are measured: their interpreters, their environment, and the JSON that they print last."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processor_class import CLASSES

from assay.core.cpu import cpu_count
from assay.core.no_telemetry import VARIABLES

HERE = Path(__file__).resolve().parent
BASELINES = HERE / "baselines"
RIVALS_PYTHON = HERE.parent / ".venv" / "bench" / "bin" / "python"
"""The interpreter of the baselines' environment, which `make bench` makes."""
_STAT = Path("/proc/stat")


class BenchmarkError(Exception):
    """A measurement that could not be made, in one sentence."""


@dataclass(frozen=True)
class Place:
    """Where measurements happen.

    Attributes:
        work: what `prepare.py` made.
        quick: whether figures need only be rough.
        rivals: whether what a user would pick instead is measured too.
        processor: the class of processors whose instructions are used.
        limited: whether all programs must be kept from newer instructions.
    """

    work: Path
    quick: bool = False
    rivals: bool = True
    processor: str = "other"
    limited: bool = False

    @property
    def engine(self) -> str:
        """Engine for Assay; ONNX Runtime, whose instructions cannot be limited, takes part only without a limit."""
        return "openvino" if self.limited else "auto"

    def environment(self) -> dict[str, str]:
        """Return the variables of a measured process: threads, folders, and nothing that talks to the net."""
        threads, home = str(cpu_count()), self.work / "home"
        home.mkdir(exist_ok=True)
        return {
            **os.environ,
            **VARIABLES,
            **(CLASSES[self.processor].limit if self.limited else {}),
            "BENCH_ENGINE": self.engine,
            "BENCH_WORK": str(self.work),
            "BENCH_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            # EfficientNet-Lite0 of the baselines is that of Assay.
            "PYTHONPATH": f"{BASELINES}{os.pathsep}{HERE.parent / 'src'}",
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_STATE_HOME": str(home / ".state"),
            "XDG_DATA_HOME": str(home / ".share"),
            "ASSAY_CACHE": str(self.work / "cache"),
            "YOLO_OFFLINE": "true",
            "YOLO_CONFIG_DIR": str(home),
            "BENTOML_HOME": str(home / "bentoml"),
        }


def rivals_python() -> Path:
    """Return the interpreter of the baselines.

    Raises:
        BenchmarkError: it was not made.
    """
    if not RIVALS_PYTHON.exists():
        raise BenchmarkError(f"{RIVALS_PYTHON} is missing: `make bench` makes the baselines' environment")
    return RIVALS_PYTHON


def processors_in_use(seconds: float = 2.0) -> float:
    """Return how many processors are in use now, as a mean over some seconds; the load average lags by minutes.

    0 where /proc/stat is missing.
    """
    if not _STAT.exists():
        return 0.0
    before = _busy_ticks()
    time.sleep(seconds)
    return (_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds


def _busy_ticks() -> int:
    # user, nice, system, idle, iowait, irq, softirq, steal, of all processors
    ticks = [int(value) for value in _STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4]


def memory(pid: int, kind: str = "VmHWM") -> int:
    """Return the resident memory of a process in bytes: its peak, or with `VmRSS` that of now. Linux only."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == kind:
            return int(value.split()[0]) << 10
    raise BenchmarkError(f"the system does not report {kind} of process {pid}")


def run_json(command: list[str], environment: Mapping[str, str], timeout: float = 900) -> dict[str, Any]:
    """Run a program and return the JSON of its last line.

    Raises:
        BenchmarkError: it failed, took too long, or printed something else.
    """
    name = "the process" if command[1] == "-c" else Path(command[1]).name
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{name} took more than {timeout:.0f} s") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        result = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BenchmarkError(f"{name} ended with {done.returncode}: {result[:300]}")
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except ValueError:
        raise BenchmarkError(f"{name} printed no figures") from None
    return found


def take_turns(
    commands: Mapping[str, list[str]],
    rounds: int,
    rivals: Container[str],
    measure: Callable[[str, list[str]], Mapping[str, float]],
    say: Callable[[str], None],
) -> tuple[dict[str, dict[str, list[float]]], list[str]]:
    """Measure contenders one after the other, round after round.

    Args:
        commands: how each is started, by name.
        rounds: how often each takes its turn.
        rivals: names whose failure is reported without ending the run; that of another raises.
        measure: from a name and its command to figures.
        say: called with progress messages.

    Returns:
        Figures by contender and name, one a round; and what went wrong with whom.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in commands}
    failed: dict[str, str] = {}
    for turn in range(rounds):
        for name, command in commands.items():
            if name in failed:
                continue
            say(f"round {turn + 1} of {rounds}: {name}")
            try:
                result = measure(name, command)
            except BenchmarkError as error:
                if name not in rivals:
                    raise
                failed[name] = str(error)
                continue
            for key, value in result.items():
                found[name].setdefault(key, []).append(value)
    return found, [f"{name}: {reason}" for name, reason in failed.items()]


def measure_apart(module: str, place: Place, **options: Any) -> dict[str, Any]:
    """Call `measure(**options)` of a benchmark in a fresh process.

    Raises:
        BenchmarkError: it failed.
    """
    program = (
        "import importlib, json, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "found = importlib.import_module(sys.argv[2]).measure(**json.loads(sys.argv[3]))\n"
        "print()\n"
        "print(json.dumps(found))\n"
    )
    command = [sys.executable, "-c", program, str(HERE), module, json.dumps(options)]
    try:
        return run_json(command, place.environment())
    except BenchmarkError as error:
        raise BenchmarkError(f"{module}: {error}") from None
