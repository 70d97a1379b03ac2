"""Measure how well `find_label_issues` finds labels that were flipped at random.

CIFAR-10 photos as vehicle or animal; 5 % of the labels are turned round. A frozen backbone's embeddings and a
logistic regression give out-of-fold probabilities (5 folds); the first 5 % of the ranking should contain the
flipped ones.

    python benchmarks/label_errors.py [--photos 3000] [--size 128] [--seeds 5]
"""

import argparse
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from assay.data.image_features import resize_to_square
from assay.evaluation.confident_learning import find_label_issues
from assay.image import decode
from assay.nets import create_classifier, default_normalization, load_pretrained
from assay.pipeline.cached_embeddings import compiled_backbone
from assay.recipe import NetSpec

FLIPPED = 0.05
VEHICLES = {"airplane", "automobile", "ship", "truck"}


def photos(archive: Path, folder: Path, count: int) -> list[Path]:
    """Unpack the first test photos of every class of CIFAR-10."""
    taken: dict[str, int] = {}
    found = []
    with tarfile.open(archive) as packed:
        for member in packed:
            path = Path(member.name)
            if member.isfile() and "test" in path.parts and taken.get(path.parent.name, 0) < count // 10:
                taken[path.parent.name] = taken.get(path.parent.name, 0) + 1
                packed.extract(member, folder, filter="data")
                found.append(folder / path)
    return sorted(found)


def embeddings(paths: list[Path], size: int) -> np.ndarray:
    """Embed photos with the frozen EfficientNet-Lite0, float32 [N, D]."""
    torch.manual_seed(0)
    spec = NetSpec(name="efficientnet-lite0")
    mean, std = default_normalization(spec.name)
    network = create_classifier(spec, 2, mean=mean, std=std, size=size)
    load_pretrained(network, spec)
    embed = compiled_backbone(network, size)
    batches = [paths[start : start + 64] for start in range(0, len(paths), 64)]
    return np.concatenate(
        [embed(np.stack([resize_to_square(decode(path.read_bytes()), size) for path in batch])) for batch in batches]
    )


def flip(truth: np.ndarray, seed: int) -> np.ndarray:
    """Choose the photos whose label is turned round, bool [N]."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(truth), dtype=bool)
    chosen[rng.choice(len(truth), round(FLIPPED * len(truth)), replace=False)] = True
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, default=Path("../shared/data/cifar10.tar.xz"))
    parser.add_argument("--photos", type=int, default=3000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        paths = photos(arguments.archive, Path(folder), arguments.photos)
        rows = embeddings(paths, arguments.size)
    truth = np.array([path.parent.name in VEHICLES for path in paths], dtype=np.int64)
    shares, recalls, lasts = [], [], []
    for seed in range(arguments.seeds):
        flipped = flip(truth, seed)
        labels = np.where(flipped, 1 - truth, truth)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=1000))
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        probabilities = cross_val_predict(model, rows, labels, cv=folds, method="predict_proba")
        found = find_label_issues(probabilities, labels)
        top = found.order[: round(FLIPPED * len(labels))]
        shares.append(flipped[top].mean())
        recalls.append(flipped[found.is_issue].sum() / flipped.sum())
        lasts.append(flipped[found.is_issue].mean())
        print(
            f"seed {seed}: top 5 % of the ranking {shares[-1]:.1%} flipped; {found.is_issue.sum()} suspects "
            f"contain {recalls[-1]:.1%} of the flipped, {lasts[-1]:.1%} of them flipped; "
            f"expected {found.expected_errors} wrong labels of {flipped.sum()}"
        )
    print(
        f"{len(paths)} photos at {arguments.size} pixels, {FLIPPED:.0%} flipped, mean of {len(shares)} "
        f"seeds: top 5 % contain {np.mean(shares):.1%} flipped (least {np.min(shares):.1%})"
    )


if __name__ == "__main__":
    main()
