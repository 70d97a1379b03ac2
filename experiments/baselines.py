"""Methods that the default recipe is compared with, and how fast this machine trains the backbone."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from assay.data import Dataset, Sample
from assay.evaluation import Predictions
from assay.nets import create_classifier, default_normalization
from assay.pipeline.auto.fine_tuning_plan import seconds_per_image
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import FrozenBackbone
from assay.recipe import Recipe, load_recipe

BACKBONE = "efficientnet-lite0"
_MAX_FASTAI_EPOCHS = 20


def feature_recipe() -> Recipe:
    """Return the settings of pooled features: photos stretched to 224 pixels."""
    return load_recipe("defect-lite", ["data.positive_class=null"])


def pooled_features(dataset: Dataset, samples: list[Sample]) -> npt.NDArray[np.float32]:
    """Return the pooled features of photos, float32 [N, D]."""
    recipe = feature_recipe()
    network, spec = build_model(recipe, dataset)
    return FrozenBackbone(network, spec, recipe, dataset).plain(samples)


def to_predictions(dataset: Dataset, samples: list[Sample], probabilities: npt.NDArray[np.float64]) -> Predictions:
    """Return probabilities [N, C] of photos as predictions."""
    return Predictions(
        classes=dataset.classes,
        ids=tuple(sample.id for sample in samples),
        paths=tuple(str(sample.path) for sample in samples),
        actual=dataset.targets(samples),
        probabilities=probabilities / probabilities.sum(axis=1, keepdims=True),
    )


def logistic_regression(dataset: Dataset, folder: Path) -> Predictions:
    """Fit logistic regression on the training and validation photos; return predictions on the test photos."""
    fitted = [*dataset.part("train"), *dataset.part("val")]
    tests = list(dataset.part("test"))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(pooled_features(dataset, fitted), dataset.targets(fitted))
    probabilities = model.predict_proba(pooled_features(dataset, tests))
    np.savez(folder / "probabilities.npz", probabilities=probabilities)
    return to_predictions(dataset, tests, probabilities)


def write_fastai_job(dataset: Dataset, folder: Path, minutes: float, seed: int) -> Path:
    """Write the input of `fastai_fine_tune.py`: photos, backbone weights, time and seed."""
    network, _ = build_model(feature_recipe(), dataset)
    weights = folder / "backbone.pt"
    torch.save(network.backbone.state_dict(), weights)
    mean, std = default_normalization(BACKBONE)
    photos = [
        {"id": sample.id, "path": str(sample.path.absolute()), "label": sample.label, "split": sample.split}
        for sample in dataset.samples
    ]
    job = {
        "classes": list(dataset.classes),
        "photos": photos,
        "weights": str(weights.absolute()),
        "mean": list(mean),
        "std": list(std),
        "minutes": minutes,
        "max_epochs": _MAX_FASTAI_EPOCHS,
        "seed": seed,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def read_fastai_result(dataset: Dataset, path: Path) -> Predictions:
    """Return the predictions that `fastai_fine_tune.py` wrote."""
    with np.load(path) as arrays:
        ids, probabilities = arrays["ids"].tolist(), arrays["probabilities"].astype(np.float64)
    by_id = {sample.id: sample for sample in dataset.samples}
    return to_predictions(dataset, [by_id[name] for name in ids], probabilities)


def training_rate(recipe: Recipe) -> float:
    """Return how many photos a second all layers of a recipe's network are trained on, at the precision of training."""
    return 1 / seconds_per_image(create_classifier(recipe.net, 2), recipe)
