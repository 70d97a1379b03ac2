"""Which functions of `assay.pipeline` run between `assay train FOLDER` and the written report.

Run as `python benchmarks/train_path.py FOLDER [RECIPE [SETTING ...]]`. Every distinct function, method or property of
the package that is called in the main thread counts once; generated code such as dataclass constructors does not.
"""

import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import assay
from assay.pipeline import train_classifier
from assay.recipe import Recipe, load_recipe

_PACKAGE = Path(assay.__file__).parent
_PREFIX = str(_PACKAGE / "pipeline")

Step = tuple[str, str]
"""File and qualified name of a function."""


def train_path(data: Path, recipe: Recipe) -> list[Step]:
    """Train on a folder of classes, and return the functions in the order of their first call."""
    steps: dict[Step, None] = {}

    def record(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_PREFIX) and "<" not in code.co_name:
            steps.setdefault((str(Path(code.co_filename).relative_to(_PACKAGE)), code.co_qualname))

    with tempfile.TemporaryDirectory() as scratch:
        sys.setprofile(record)
        try:
            train_classifier(data, recipe, Path(scratch) / "run")
        finally:
            sys.setprofile(None)
    return list(steps)


def main() -> None:
    """Print the functions and their number."""
    data, name, *settings = [*sys.argv[1:], "default"] if len(sys.argv) == 2 else sys.argv[1:]
    steps = train_path(Path(data), load_recipe(name, settings))
    for file, function in steps:
        print(f"{file}  {function}")
    print(f"{len(steps)} functions in {len({file for file, _ in steps})} files")


if __name__ == "__main__":
    main()
