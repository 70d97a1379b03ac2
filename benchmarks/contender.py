"""Assay against the baselines, with the bundles that `prepare.py` made; timed as they are.

Usage: contender.py SECONDS, with the baselines' folder on PYTHONPATH.
"""

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
from common import WORK, photos, report

from assay.core.cpu import bf16_instructions
from assay.inference import Classifier, PrecisionChoice


def load(name: str, precision: PrecisionChoice) -> Classifier:
    """Load a bundle with the engine that the runner asks for, else with the fastest one."""
    engine = os.environ.get("BENCH_ENGINE", "auto")
    return Classifier.load(WORK / f"{name}.assay", engine, precision=precision, measure=engine == "auto")


def run(classifier: Classifier, square: np.ndarray, _: Path) -> object:
    """Run the network alone."""
    return classifier.engine.run(square)


def main() -> None:
    # Which runtime is faster is measured once and remembered, as for `assay predict --out`.
    whole, region = (load(name, "auto") for name in ("whole", "region"))
    square = whole.preprocess.read(photos()[0].read_bytes())[None]
    precisions: list[PrecisionChoice] = ["int8", "fp32", *(["bf16"] if bf16_instructions() else [])]
    forward = {
        f"forward {result}{precision}": partial(run, load(name, precision), square)
        for name, result in (("whole", ""), ("lite0", "lite0 "))
        for precision in precisions
    }

    def read(path: Path) -> object:
        return whole.preprocess.read(path.read_bytes())

    report(
        {
            **forward,
            "whole": whole.predict,
            "region": region.predict,
            "read": read,
        },
        engine=whole.runtime,
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
