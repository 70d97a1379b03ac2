"""From a bundle and labelled photos to predictions: what every figure of Assay is counted on."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from assay.data import Dataset, Pixels, Sample
from assay.errors import AssayError
from assay.evaluation import Predictions
from assay.inference import Classifier, cpu_count
from assay.inference.engine import Outputs
from assay.progress import Progress, silent
from assay.tables import listed
from assay.workflow.kept import KeptEmbeddings

_BATCH = 32


def judge(
    classifier: Classifier,
    dataset: Dataset,
    samples: Sequence[Sample] | None = None,
    progress: Progress = silent,
    *,
    kept: KeptEmbeddings | None = None,
) -> Predictions:
    """Let a classifier predict labelled photos.

    Args:
        classifier: the opened bundle.
        dataset: where the photos are from; every label must be one of the classifier's classes.
        samples: the photos; none: all of the data set.
        progress: told of every batch.
        kept: the bundle's embeddings, which answer in place of its backbone where they say the same.

    Raises:
        AssayError: a label is unknown to the classifier, or a photo can no longer be read.
    """
    chosen = dataset.samples if samples is None else tuple(samples)
    index = {name: place for place, name in enumerate(classifier.classes)}
    unknown = sorted({sample.label for sample in chosen} - index.keys())
    if unknown:
        raise AssayError(
            f"{dataset.root} has photos labelled {unknown[0]!r}, which the classifier does not know: "
            f"its classes are {listed(classifier.classes)}"
        )
    probabilities, embeddings = [], []
    known = None if kept is None else kept.outputs(classifier, chosen)
    for done, outputs in _answers(classifier, chosen) if known is None else ((len(chosen), known),):
        probabilities.append(classifier.probabilities(outputs))
        embeddings.append(outputs.embedding)
        progress("judging", done, len(chosen))
    has_sources = any(sample.source_label is not None for sample in chosen)
    return Predictions(
        classes=classifier.classes,
        ids=tuple(sample.id for sample in chosen),
        paths=tuple(str(sample.path) for sample in chosen),
        actual=np.array([index[sample.label] for sample in chosen], dtype=np.int64),
        probabilities=np.concatenate(probabilities) if chosen else np.empty((0, len(index))),
        embedding=np.concatenate(embeddings) if chosen else None,
        source_labels=tuple(sample.source_label or sample.label for sample in chosen)
        if has_sources
        else None,
    )


def _answers(classifier: Classifier, samples: Sequence[Sample]) -> Iterator[tuple[int, Outputs]]:
    for done, squares in _squares(Pixels(samples, classifier.preprocess)):
        yield done, classifier.outputs(squares)


def _squares(pixels: Pixels) -> Iterator[tuple[int, np.ndarray]]:
    """Give photos in batches, each read by threads while the one before is being judged."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        ahead = [pool.submit(pixels.__getitem__, row) for row in range(min(_BATCH, len(pixels)))]
        for start in range(0, len(pixels), _BATCH):
            batch, stop = ahead, start + len(ahead)
            ahead = [
                pool.submit(pixels.__getitem__, row) for row in range(stop, min(stop + _BATCH, len(pixels)))
            ]
            yield stop, np.stack([square.result() for square in batch])
