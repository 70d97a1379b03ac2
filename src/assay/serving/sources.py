"""Which model files are served, and under which names. Knows nothing of what is in them."""

from dataclasses import dataclass
from pathlib import Path

from assay.errors import UsageError


@dataclass(frozen=True, slots=True)
class Source:
    """A model to be served."""

    path: Path
    name: str | None = None
    """What it is called in requests; None: as the bundle calls itself."""

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Read `PATH` or `NAME=PATH`; a file of the whole text, `a=b.assay`, is a path.

        Raises:
            UsageError: there is nothing before the equals sign, or after it.
        """
        name, found, path = text.partition("=")
        if not found or "/" in name or Path(text).exists():
            return cls(Path(text))
        if not name or not path:
            raise UsageError(f"{text!r} names no model: write NAME=PATH")
        return cls(Path(path), name)
