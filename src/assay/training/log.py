"""`training.log`: what happened in a run, a line each, for people. A resumed run goes on in the same file."""

from datetime import datetime
from pathlib import Path

from assay.text import printable


class RunLog:
    """`training.log`: lines of text with the local time. A resumed run appends to the same file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def write(self, line: str) -> None:
        """Append one line, in a single write."""
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        with self._path.open("a", encoding="utf-8", newline="") as stream:
            stream.write(f"{now}  {printable(line)}\n")
