"""Held-out images: the novelty distances of many classes, and which images a detector is fitted to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data import Dataset, Sample
from assay.inference import fit_novelty
from assay.pipeline.dataset_evaluation import labelled_predictions
from assay.pipeline.held_out_predictions import CrossFittedHeads, rows_by_class
from assay.training.linear_heads import FoldIndices

_UNUSED: Any = None


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(1, 120))
def test_every_class_is_among_the_chosen_rows(targets: list[int], count: int):
    labels = np.array(targets)
    rows = rows_by_class(labels, 0, count)
    assert rows == sorted(set(rows))
    assert len(rows) == min(count, len(labels))
    if count >= 100:  # 20 of each of the five classes
        assert all((labels[rows] == label).sum() >= min(20, targets.count(label)) for label in set(targets))


@pytest.mark.parametrize(("classes", "size"), [(2, 100), (300, 10)])
def test_held_out_distances_are_like_those_of_new_images(classes: int, size: int):
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(classes, 32))
    targets = np.repeat(np.arange(classes), size)
    names = [f"{number:03}" for number in range(classes)]
    samples = [Sample(f"{row:05}", Path(f"{row:05}.png"), names[label]) for row, label in enumerate(targets)]

    def drawn() -> np.ndarray:
        return (centres[targets] + rng.normal(size=(len(targets), 32))).astype(np.float32)

    embeddings, new = drawn(), drawn()
    rows = np.arange(len(targets))
    folds = [FoldIndices(rows[rows % 5 != fold], rows[rows % 5 == fold]) for fold in range(5)]
    held_out = np.concatenate([fold.held_out for fold in folds])
    dataset = Dataset(root=Path(), samples=tuple(samples), classes=tuple(names))
    heads = CrossFittedHeads(dataset, samples, embeddings, folds, _UNUSED, _UNUSED, _UNUSED, 0)
    probabilities = np.full((len(held_out), classes), 1 / classes)
    predictions = labelled_predictions(
        dataset.classes, [samples[row] for row in held_out], probabilities, embeddings[held_out]
    )
    served = fit_novelty(embeddings, targets)
    found = np.quantile(heads.distances(served, predictions), [0.5, 0.97])
    assert found == pytest.approx(np.quantile(served.distance(new), [0.5, 0.97]), rel=0.15)
