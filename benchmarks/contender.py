"""Assay against the baselines, with the bundles that `prepare.py` made; timed as they are.

Usage: contender.py SECONDS, with the baselines' folder on PYTHONPATH.
"""

import sys
from pathlib import Path

from common import WORK, photos, report

from assay.core.cpu import bf16_instructions
from assay.inference import Classifier


def main() -> None:
    # Which runtime is faster is measured once and remembered, as for `assay predict --out`.
    whole, region = (Classifier.load(WORK / f"{name}.assay", measure=True) for name in ("whole", "region"))
    exact = Classifier.load(WORK / "whole.assay", precision="fp32", measure=True)
    rounded = Classifier.load(WORK / "whole.assay", precision="bf16") if bf16_instructions() else None
    square = whole.preprocess.read(photos()[0].read_bytes())[None]

    def read(path: Path) -> object:
        return whole.preprocess.read(path.read_bytes())

    report(
        {
            "forward int8": lambda _: whole.engine.run(square),
            "forward fp32": lambda _: exact.engine.run(square),
            **({"forward bf16": lambda _: rounded.engine.run(square)} if rounded else {}),
            "whole": whole.predict,
            "region": region.predict,
            "read": read,
        },
        engine=f"{whole.runtime}; {exact.runtime}",
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
