"""A rule on a camera or video: the command `assay watch` that runs it, and what it has reported."""

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay.core.errors import UsageError

MAX_EVENTS: Final = 8
"""That the page shows, the last first."""


@dataclass(frozen=True)
class CameraRule:
    """A rule as the form has it.

    Attributes:
        source: number of a camera, address of a stream, or path of a video.
        label: class that must be seen.
        confidence: that its probability must exceed, 0 to below 1.
        seconds: for how long.
        program: what to run: an executable file of the project, with arguments; empty: nothing.
    """

    source: str
    label: str
    confidence: float
    seconds: float
    program: str

    def arguments(self, project: Path, bundle: str) -> list[str]:
        """Return the arguments of `assay`, for the folder of the project.

        Only programs of the project can be run: a client of the page can start jobs, but cannot name any program of
        the machine.

        Raises:
            UsageError: a value is invalid.
        """
        source = self.source.strip()
        if not source or source.startswith("-"):
            raise UsageError("Give a camera number, the address of a stream, or the path of a video")
        if not self.label or not 0 <= self.confidence < 1 or not 0 <= self.seconds <= 3600:
            raise UsageError("A rule needs a class, a confidence from 0 to below 1, and up to 3600 seconds")
        rule = f"{self.label}>{self.confidence:g} for {self.seconds:g}s"
        arguments = ["watch", bundle, source, "--on", rule, "--no-window", "--json"]
        if self.program.strip():
            arguments += ["--run", program_of(self.program, project)]
        return arguments


def program_of(line: str, project: Path) -> str:
    """Return a command line whose program is an executable file in the project.

    Raises:
        UsageError: it is none.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"The program cannot be read: {error}") from None
    path = (project / words[0]).resolve() if words and "\0" not in line else project
    if not path.is_relative_to(project) or not path.is_file() or not os.access(path, os.X_OK):
        raise UsageError("The program must be an executable file in the folder of the project, such as ./sign.sh")
    return line.strip()


@dataclass(frozen=True)
class RuleState:
    """What a rule has reported: the label that is seen now, and the last events with their times in seconds."""

    label: str | None
    events: Sequence[tuple[float, str, float]]
    count: int


def read_rule_state(lines: Sequence[str]) -> RuleState:
    """Read the JSON lines that `assay watch --json` printed."""
    label, events = None, []
    for line in lines:
        try:
            row: dict[str, Any] = json.loads(line)
            if "event" in row:
                events.append((float(row["time"]), str(row["event"]), float(row["confidence"])))
            else:
                label = str(row["label"])
        except (ValueError, KeyError, TypeError):
            continue  # the last line may be incomplete
    return RuleState(label, events[::-1][:MAX_EVENTS], len(events))
