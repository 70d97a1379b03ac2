from collections.abc import Callable

import numpy as np

from assay.evaluation import Predictions
from assay.evaluation.predictions import Mistake, misclassified_photos

Make = Callable[..., Predictions]


def test_most_confident_first(make: Make):
    probabilities = np.array([[0.2, 0.8, 0], [0.1, 0.9, 0], [0.05, 0.05, 0.9], [0, 0.4, 0.6], [1, 0, 0]])
    predictions = make([0, 1, 1, 0, 0], probabilities=probabilities, source_labels=tuple("vwxyz"))
    assert misclassified_photos(predictions) == (
        Mistake(2, "dog/2.jpg", "/photos/dog/2.jpg", "dog", "ship", 0.9, "x"),
        Mistake(0, "cat/0.jpg", "/photos/cat/0.jpg", "cat", "dog", 0.8, "v"),
        Mistake(3, "cat/3.jpg", "/photos/cat/3.jpg", "cat", "ship", 0.6, "y"),
    )


def test_equally_confident_ones_stay_in_order(make: Make):
    predictions = make([0] * 50, probabilities=np.tile([0.3, 0.7, 0.0], (50, 1)))
    assert [mistake.row for mistake in misclassified_photos(predictions)] == list(range(50))


def test_none(make: Make):
    assert misclassified_photos(make([0, 1], [0, 1])) == ()
    assert misclassified_photos(make([])) == ()


def test_without_source_labels(make: Make):
    assert misclassified_photos(make([0], [1]))[0].source_label is None
