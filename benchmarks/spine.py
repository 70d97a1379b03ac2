"""The README's figures, measured: time and accuracy of the demo, start-up, agreement of the runtimes.

Run as `python benchmarks/spine.py` (or `make bench`); prints a table. Whole processes are measured,
as a user would start them. Times are medians; the machine should be idle.
"""

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ASSAY = Path(sys.executable).with_name("assay")


def timed(*arguments: object, repeats: int = 5) -> float:
    """Return the median wall time of a command in seconds; the first run, which fills caches, is left out."""
    seconds = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        subprocess.run([ASSAY, *map(str, arguments)], check=True, capture_output=True)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def demo(folder: Path, seed: int) -> tuple[float, float, float, Path]:
    """Run the demo; return seconds, test accuracy, F1 of the defect class and the run's folder."""
    begin = time.perf_counter()
    subprocess.run([ASSAY, "demo", "--to", folder, "--seed", str(seed)], check=True, capture_output=True)
    seconds = time.perf_counter() - begin
    run = folder / "run-1"
    metrics = json.loads((run / "evaluation" / "test" / "metrics.json").read_text(encoding="utf-8"))
    defective = next(item for item in metrics["classes"] if item["name"] == "defective")
    return seconds, metrics["accuracy"], defective["f1"], run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of the demo, seeds 0, 1, ...")
    wanted = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="assay-bench-"))
    try:
        runs = [demo(scratch / str(seed), seed) for seed in range(wanted.seeds)]
        result = subprocess.run([ASSAY, "info", runs[0][3] / "model.assay", "--json"], check=True, capture_output=True)
        info = json.loads(result.stdout)
        photo = next((scratch / "0" / "photos" / "functional").iterdir())
        rows = [
            ("demo, seconds (median)", statistics.median(run[0] for run in runs)),
            ("demo, test accuracy, mean", statistics.mean(run[1] for run in runs)),
            ("demo, test accuracy, standard deviation", statistics.pstdev(run[1] for run in runs)),
            ("demo, F1 of the defect class, mean", statistics.mean(run[2] for run in runs)),
            ("demo, F1 of the defect class, standard deviation", statistics.pstdev(run[2] for run in runs)),
            ("assay predict of one photo, seconds", timed("predict", runs[0][3] / "model.assay", photo)),
            ("assay --help, seconds", timed("--help")),
            *((f"max |Δlogit| torch vs {name}", value) for name, value in info["agreement"].items()),
        ]
        print(f"{platform.machine()}, Python {platform.python_version()}, seeds 0 to {wanted.seeds - 1}")
        for name, value in rows:
            print(f"{name:<52}{value:10.4g}")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
