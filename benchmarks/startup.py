"""How long whole processes take, as a user would start them: `assay predict` of a photo, and `assay --help`.

Run as `python benchmarks/startup.py WORK`, with the folder that `prepare.py` made; medians in seconds.
"""

import sys
from pathlib import Path

from spine import timed


def measure(work: str, repeats: int = 5) -> dict[str, float]:
    """Return seconds by command."""
    model, photos = Path(work) / "whole.assay", Path(work) / "photos"
    photo = min(photos.iterdir())
    return {
        "predict": timed("predict", model, photo, repeats=repeats),
        "help": timed("--help", repeats=repeats),
    }


def main() -> None:
    """Measure and print."""
    for name, value in measure(sys.argv[1]).items():
        print(f"{name:<12}{value:8.3f} s")


if __name__ == "__main__":
    main()
