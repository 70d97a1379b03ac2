"""The confusion matrix and its texts."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from assay.evaluation import Predictions
from assay.evaluation.confusion_matrix import ConfusedPair, ConfusionMatrix

Make = Callable[..., Predictions]


def test_rows_are_actual_and_columns_predicted(make: Make):
    confusion = ConfusionMatrix.from_predictions(make([0, 0, 0, 1, 1], [0, 0, 2, 1, 2]))
    assert confusion.counts.tolist() == [[2, 0, 1], [0, 1, 1], [0, 0, 0]]


def test_normalized_rows_sum_to_one(make: Make):
    shares = ConfusionMatrix.from_predictions(make([0, 0, 0, 1, 1], [0, 0, 2, 1, 2])).normalized
    np.testing.assert_allclose(shares[:2].sum(axis=1), 1)
    assert np.isnan(shares[2]).all()


def test_most_confused_pairs_first():
    confusion = ConfusionMatrix(("a", "b", "c"), np.array([[8, 2, 0], [2, 2, 0], [0, 5, 5]]))
    assert confusion.pairs() == (
        ConfusedPair("c", "b", 5, 0.5),
        ConfusedPair("b", "a", 2, 0.5),
        ConfusedPair("a", "b", 2, 0.2),
    )


def test_json_form(make: Make):
    values = ConfusionMatrix.from_predictions(make([0, 1, 1], [0, 1, 0], classes=("open", "closed", "$?"))).to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["counts"] == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert values["normalized"] == [[1, 0, 0], [0.5, 0.5, 0], None]
    assert (values["rows"], values["columns"]) == ("actual", "predicted")
    assert values["most_confused"] == [{"actual": "closed", "predicted": "open", "count": 1, "share": 0.5}]


def test_text_has_an_explanation():
    text = ConfusionMatrix(("bottom", "side"), np.array([[9, 1], [0, 6]])).to_text()
    assert text.startswith("Confusion matrix: number of photos (rows actual, columns predicted)\n\n")
    assert "        bottom  side\nbottom       9     1\nside         0     6\n" in text
    assert "bottom      90    10" in text
    flat = " ".join(text.split())
    assert "rows are the actual classes" in flat
    assert "15 of 16 photos (93.8 %) are correct." in flat
    assert "1 of 10 “bottom” photos (10.0 %) predicted as “side”" in flat


@pytest.mark.parametrize("classes", [2, 8, 12, 30])
def test_text_is_narrow_and_names_every_class(make: Make, classes: int):
    names = [f"an awfully long name of a class, number {k}, as some people like them" for k in range(classes)]
    text = ConfusionMatrix.from_predictions(make(list(range(classes)) * 2, classes=names)).to_text()
    assert max(map(len, text.splitlines())) <= 130
    table = text.split("\n\n")[1].splitlines()
    assert len({line[:30] for line in table[1:]}) == classes


def test_text_without_images_and_without_mistakes(make: Make):
    assert "There are no photos." in " ".join(ConfusionMatrix.from_predictions(make([])).to_text().split())
    assert "mistake:" not in ConfusionMatrix.from_predictions(make([0, 1], [0, 1])).summary()


def test_names_cannot_break_the_text(make: Make):
    text = ConfusionMatrix.from_predictions(make([0, 1], [1, 1], classes=("a\nb\x1b[31m", "電池"))).to_text()
    assert "\x1b" not in text
    header, first, second = text.split("\n\n")[1].splitlines()
    assert first.startswith(r"a\nb\x1b[31m")
    assert header.endswith("電池")
    assert second.startswith("電池")
