"""How many labelled photos every combination answers right; each photo is read once for all of them.

Counts and nothing else, without scikit-learn: `assay evaluate` judges in full.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from assay.data import Dataset, Pixels
from assay.inference import Classifier, cpu_count
from assay.progress import Progress, silent
from assay.workflow.bench.result import Accuracy, Combination

_BATCH = 32


def count_right(
    classifiers: Mapping[Combination, Classifier], dataset: Dataset, progress: Progress = silent
) -> dict[Combination, Accuracy]:
    """Count right answers.

    Args:
        classifiers: one bundle with every engine and precision, one or more.
        dataset: labelled photos whose classes are the bundle's.
        progress: told of every batch.

    Raises:
        AssayError: a photo can no longer be read.
    """
    if not classifiers:
        return {}
    pixels = Pixels(dataset.samples, next(iter(classifiers.values())).preprocess)
    targets, count = dataset.targets(), len(dataset.samples)
    right = dict.fromkeys(classifiers, 0)
    with ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, count, _BATCH):
            rows = range(start, min(start + _BATCH, count))
            squares = np.stack(list(pool.map(pixels.__getitem__, rows)))
            for combination, classifier in classifiers.items():
                best = classifier.outputs(squares).logits.argmax(axis=1)
                right[combination] += int((best == targets[rows.start : rows.stop]).sum())
            progress("judging", rows.stop, count)
    return {combination: Accuracy(hits, count) for combination, hits in right.items()}
