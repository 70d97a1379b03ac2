"""The value range of the recipe is used in training, evaluation and prediction."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.bundle import Bundle
from assay.core.errors import AssayError
from assay.inference import Classifier, Failure
from assay.pipeline import evaluate_classifier, train_classifier
from assay.recipe import PreprocessSpec, Recipe


def test_training_evaluation_and_prediction_share_the_value_range(tiny: Recipe, tmp_path: Path):
    twins = tmp_path / "twins"
    twins.mkdir()
    for label, base in (("dark", 60), ("light", 160)):
        for number in range(20):
            noise = np.random.default_rng([base, number]).integers(0, 60, (12, 16), dtype=np.uint8)
            levels = np.asarray(Image.fromarray(base + noise).resize((80, 60), Image.Resampling.BICUBIC))
            path = tmp_path / "data" / label / f"{number}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            # One hot pixel far above the range: it must not change any other.
            values = (levels / np.float32(255) * 1000).astype(np.float32)
            values[0, 0] = 1000 if number % 2 else 70_000
            Image.fromarray(values).save(path)
            twin = levels.copy()
            twin[0, 0] = 255
            Image.fromarray(twin).save(twins / f"{label}{number}.png")

    data = tmp_path / "data"
    with pytest.raises(AssayError, match=r"float32 without a declared range; set preprocess.value_range"):
        train_classifier(data, tiny, tmp_path / "refused")
    spec = PreprocessSpec.model_validate({**tiny.preprocess.model_dump(), "value_range": (0, 1000)})
    done = train_classifier(data, tiny.model_copy(update={"preprocess": spec}), tmp_path / "run")

    model = done.run.folder / "model.assay"
    classifier = Classifier.load(model)
    assert "0 is black and 1000 is white" in Bundle.open(model).card
    assert classifier.info.preprocess.value_range == (0, 1000)
    for label in ("dark", "light"):
        for number in (0, 1):
            deep = classifier.predict(data / label / f"{number}.tif")
            plain = classifier.predict(twins / f"{label}{number}.png")
            assert not isinstance(deep, Failure)
            assert not isinstance(plain, Failure)
            assert deep.probabilities == plain.probabilities
    evaluated = evaluate_classifier(model, data, tmp_path / "evaluated")
    assert len(evaluated.dataset.samples) == 40
