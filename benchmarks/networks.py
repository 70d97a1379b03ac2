"""One photo at a time: the network alone, and from a file to its answer; Assay and what others use.

Every measurement is a process of its own; the contenders take turns, round after round. Values are medians of
one process, in milliseconds.
"""

import sys
from collections.abc import Callable

from processes import BASELINES, HERE, Place, rivals_python, run_json, take_turns

PLAIN = "eager PyTorch"
UNLIMITED = "ONNX Runtime, plain"
"""The only program whose instructions cannot be limited."""
RIVALS = {
    UNLIMITED: "onnxruntime_plain.py",
    "fastai learn.predict": "fastai_predict.py",
    "Ultralytics classify": "ultralytics_classify.py",
}

Times = dict[str, dict[str, list[float]]]
"""Milliseconds by contender and task, one a round."""


def measure(place: Place, say: Callable[[str], None]) -> tuple[Times, list[str]]:
    """Return the times, and what went wrong with whom; only a failure of Assay or of the baseline raises."""
    rounds, seconds = (1, 1.0) if place.quick else (5, 2.5)
    python = str(rivals_python())
    commands = {
        "Assay": [sys.executable, str(HERE / "contender.py")],
        PLAIN: [python, str(BASELINES / "eager.py")],
    }
    if place.rivals:
        rivals = {name: file for name, file in RIVALS.items() if not (place.limited and name == UNLIMITED)}
        commands |= {name: [python, str(BASELINES / file)] for name, file in rivals.items()}

    def measure_one(_name: str, command: list[str]) -> dict[str, float]:
        result = run_json([*command, str(seconds)], place.environment(), timeout=300)
        return {task: value for task, value in result.items() if isinstance(value, float)}

    return take_turns(commands, rounds, RIVALS, measure_one, say)
