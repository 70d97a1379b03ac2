"""One photo at a time: the network alone, and from a file to its answer; Assay and what others use.

Every measurement is a process of its own; the contenders take turns, round after round. Values are medians of
one process, in milliseconds.
"""

import sys
from collections.abc import Callable

from processes import BASELINES, HERE, BenchmarkError, Place, rivals_python, run_json

PLAIN = "eager PyTorch"
RIVALS = {
    "ONNX Runtime, plain": "onnxruntime_plain.py",
    "fastai learn.predict": "fastai_predict.py",
    "Ultralytics classify": "ultralytics_classify.py",
}

Times = dict[str, dict[str, list[float]]]
"""Milliseconds by contender and task, one a round."""


def measure(place: Place, say: Callable[[str], None]) -> tuple[Times, list[str]]:
    """Return the times, and what went wrong with whom; only a failure of Assay or of the baseline raises."""
    rounds, seconds = (1, 1.0) if place.quick else (4, 2.5)
    python = str(rivals_python())
    commands = {
        "Assay": [sys.executable, str(HERE / "contender.py")],
        PLAIN: [python, str(BASELINES / "eager.py")],
    }
    if place.rivals:
        commands |= {name: [python, str(BASELINES / file)] for name, file in RIVALS.items()}
    found: Times = {name: {} for name in commands}
    failed: dict[str, str] = {}
    for turn in range(rounds):
        for name, command in commands.items():
            if name in failed:
                continue
            say(f"round {turn + 1} of {rounds}: {name}")
            try:
                told = run_json([*command, str(seconds)], place.environment(), timeout=300)
            except BenchmarkError as error:
                if name not in RIVALS:
                    raise
                failed[name] = str(error)
                continue
            for task, value in told.items():
                if isinstance(value, float):
                    found[name].setdefault(task, []).append(value)
    return found, [f"{name}: {reason}" for name, reason in failed.items()]
