"""What every baseline shares: photos, the region, timing, and the settings that come from the runner.

Photos and models lie in the folder `BENCH_WORK`, threads are `BENCH_THREADS`; every program that is timed
prints one line of JSON at its end. Knows nothing of Assay; it runs in the environment of the baselines.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REGION = 0.3
"""Share of the height, from the top, that the region of interest has."""
CLASSES = 10
THREADS = int(os.environ.get("BENCH_THREADS") or len(os.sched_getaffinity(0)))
WORK = Path(os.environ["BENCH_WORK"])

Ask = Callable[[Path], object]


def photos() -> list[Path]:
    """Return the photos, the same for everyone."""
    return sorted((WORK / "photos").glob("*.jpg"))


def top(image: Image.Image) -> Image.Image:
    """Cut out the region of interest."""
    return image.crop((0, 0, image.width, round(REGION * image.height)))


def squeezed(image: Image.Image) -> Image.Image:
    """Scale to the square of the network, as every tutorial does."""
    return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def report(tasks: dict[str, Ask], **result: Any) -> None:
    """Time each task over the photos for the seconds that the command line gives; print the medians in ms."""
    seconds, paths = float(sys.argv[1]), photos()
    found = {name: median(_taken(ask, paths, seconds)) for name, ask in tasks.items()}
    sys.stdout.write(json.dumps({**found, **result}) + "\n")


def _taken(ask: Ask, paths: Sequence[Path], seconds: float) -> list[float]:
    for path in paths[:5]:
        ask(path)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 20 or time.perf_counter() < end:
        begin = time.perf_counter()
        ask(paths[len(taken) % len(paths)])
        taken.append(1e3 * (time.perf_counter() - begin))
    return taken
