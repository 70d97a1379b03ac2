"""Honest confidence and `unknown`, measured: calibration error, kept precision, out-of-distribution photos found.

Run as `python benchmarks/unknown.py`; prints a table. A linear head on the frozen EfficientNet-Lite0
(optimiser, rate and passes of the recipe defect-lite) learns from embeddings that are computed once and kept
in --cache; everything after it is what calibrates bundles too. Solar cells: ELPV, four grouped folds, every
photo classified by a classifier that was not trained on it. Vehicles and animals: 800 photos a class of
CIFAR-10's training split, 32 pixels enlarged to 224, evaluated on 500 per class of its test split. The test splits
choose nothing.
"""

import argparse
import os
import statistics
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from assay.data import Sample, make_folds
from assay.data.array_cache import cache_folder
from assay.data.fetch.converters import CIFAR10_VEHICLES, prepare_elpv
from assay.data.loading import load_split_dataset
from assay.evaluation import (
    Predictions,
    apply_temperature,
    calibration_scores,
    choose_threshold,
    count_answers,
    fit_calibration,
    precision_coverage_curve,
)
from assay.evaluation.selective_classification import novelty_limit
from assay.image import Preprocess
from assay.inference import NoveltyDetector, fit_novelty
from assay.nets import create_classifier, default_normalization, load_pretrained
from assay.pipeline.cached_embeddings import compiled_backbone
from assay.recipe import AbstainSpec, DataSpec, NetSpec, PreprocessSpec
from assay.training import EmbedFunction

SIZE = 224
TAUGHT = 2000
SPEC = AbstainSpec()


@dataclass(frozen=True)
class Photos:
    """Embeddings of labelled photos: ids [N], rows float32 [N, D], labels [N]."""

    ids: tuple[str, ...]
    rows: np.ndarray
    labels: np.ndarray

    def take(self, chosen: np.ndarray) -> "Photos":
        """Return the photos at some places."""
        return Photos(tuple(np.array(self.ids)[chosen]), self.rows[chosen], self.labels[chosen])


def backbone() -> EmbedFunction:
    mean, std = default_normalization("efficientnet-lite0")
    network = create_classifier(NetSpec(), 2, mean=mean, std=std, size=SIZE)
    load_pretrained(network, NetSpec())
    return compiled_backbone(network, SIZE)


def embedded(cache: Path, name: str, paths: list[Path], ids: list[str], labels: list[int]) -> Photos:
    """Compute embeddings, or read those that were computed before."""
    file = cache / f"{name}.npz"
    if not file.exists():
        embed, preprocess = backbone(), Preprocess(PreprocessSpec(resize_mode="stretch", size=SIZE))
        parts = []
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(paths), 32):
                squares = pool.map(lambda path: preprocess.read(path.read_bytes()), paths[start : start + 32])
                parts.append(embed(np.stack(list(squares))))
        np.savez(file, ids=np.array(ids), rows=np.concatenate(parts))
    with np.load(file) as kept:
        places = {name: place for place, name in enumerate(kept["ids"].tolist())}
        rows = kept["rows"][[places[item] for item in ids]]
    return Photos(tuple(ids), rows, np.array(labels, dtype=np.int64))


def noise(cache: Path) -> Photos:
    """Pictures of nothing: fine and coarse uniform noise, in colour and gray."""
    file = cache / "noise.npz"
    if not file.exists():
        rng, embed, parts = np.random.default_rng(0), backbone(), []
        for side, channels in ((SIZE, 3), (32, 3), (SIZE, 1), (32, 1)):
            for _ in range(4):
                grain = rng.integers(0, 256, (32, side, side, channels), dtype=np.uint8)
                factor = SIZE // side
                whole = grain.repeat(factor, 1).repeat(factor, 2).repeat(3 // channels, 3)
                parts.append(embed(np.ascontiguousarray(whole)))
        np.savez(file, rows=np.concatenate(parts))
    with np.load(file) as kept:
        rows = kept["rows"]
    return Photos(tuple(map(str, range(len(rows)))), rows, np.zeros(len(rows), dtype=np.int64))


def cifar(cache: Path, part: str, a_class: int) -> Photos:
    folder = cache / "cifar10"
    if not (folder / part).is_dir():
        seen: dict[str, int] = {}
        data = Path(os.environ.get("ASSAY_DATA", "../shared/data"))
        with tarfile.open(data / "cifar10.tar.xz") as archive:
            for member in archive:
                kind = str(Path(member.name).parent)
                if member.isfile() and f"/{part}/" in member.name and seen.get(kind, 0) < a_class:
                    seen[kind] = seen.get(kind, 0) + 1
                    archive.extract(member, cache, filter="data")
    paths = sorted((folder / part).glob("*/*"))
    ids = [f"{path.parent.name}/{path.name}" for path in paths]
    labels = [int(path.parent.name not in CIFAR10_VEHICLES) for path in paths]
    return embedded(cache, f"cifar_{part}", paths, ids, labels)


def trained_head(photos: Photos, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Train a linear layer on embeddings as defect-lite does; return what gives other embeddings' logits."""
    torch.manual_seed(seed)
    rows, labels = torch.from_numpy(photos.rows), torch.from_numpy(photos.labels)
    head, epochs, batch = nn.Linear(rows.shape[1], 2), 60, 100
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for chosen in torch.randperm(len(rows)).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(rows[chosen]), labels[chosen]).backward()
            optimizer.step()
        schedule.step()

    @torch.inference_mode()
    def logits(other: np.ndarray) -> np.ndarray:
        return head(torch.from_numpy(other)).numpy()

    return logits


def predictions(photos: Photos, logits: np.ndarray) -> Predictions:
    return Predictions(
        classes=("0", "1"),
        ids=photos.ids,
        paths=photos.ids,
        actual=photos.labels,
        probabilities=apply_temperature(logits, 1.0),
    )


@dataclass(frozen=True)
class Result:
    """A classifier's confidence on photos that it never met."""

    raw: Predictions
    calibrated: Predictions
    familiar: np.ndarray
    threshold: float
    reached: bool
    novelty: NoveltyDetector


def run(train: Photos, val: Photos, test: Photos, seed: int) -> Result:
    """Train, calibrate on validation photos, evaluate."""
    logits = trained_head(train, seed)
    raw = predictions(val, logits(val.rows))
    temperature = fit_calibration(raw).temperature
    taught = np.random.default_rng(seed).permutation(len(train.labels))[:TAUGHT]
    novelty = fit_novelty(train.rows[taught], train.labels[taught])
    limit = novelty_limit(novelty.distance(val.rows), SPEC.max_false_positive_rate)
    novelty = novelty.with_limit(limit or np.inf)
    passing = novelty.score(val.rows) <= 1
    sure = replace(raw, probabilities=apply_temperature(raw.log_probabilities, temperature))
    chosen = choose_threshold(precision_coverage_curve(sure.take(passing)), len(val.labels), SPEC.target_precision)
    judged = predictions(test, logits(test.rows))
    calibrated = replace(judged, probabilities=apply_temperature(judged.log_probabilities, temperature))
    return Result(judged, calibrated, novelty.score(test.rows) <= 1, chosen.threshold, chosen.reached, novelty)


def elpv_results(cells: Photos, samples: Sequence[Sample], seed: int) -> list[Result]:
    """Judge every photo by the one of four classifiers that did not learn from it."""
    place = {name: row for row, name in enumerate(cells.ids)}

    def chosen(some: Sequence[Sample]) -> Photos:
        return cells.take(np.array([place[item.id] for item in some]))

    rounds = make_folds(samples, 4, seed)
    return [run(chosen(item.train), chosen(item.val), chosen(item.test), seed) for item in rounds]


def joined(results: list[Result], which: str) -> Predictions:
    parts = [getattr(item, which) for item in results]
    return replace(
        parts[0],
        ids=sum((item.ids for item in parts), ()),
        paths=sum((item.paths for item in parts), ()),
        actual=np.concatenate([item.actual for item in parts]),
        probabilities=np.concatenate([item.probabilities for item in parts]),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="splits and heads, seeds 0, 1, ...")
    parser.add_argument("--cache", type=Path, default=cache_folder() / "benchmarks", help="for embeddings")
    wanted = parser.parse_args()
    wanted.cache.mkdir(parents=True, exist_ok=True)
    dataset = load_split_dataset(prepare_elpv(wanted.cache / "elpv"), DataSpec(), 0)
    samples = dataset.samples
    cells = embedded(
        wanted.cache,
        "elpv",
        [item.path for item in samples],
        [item.id for item in samples],
        [int(item.label == "defective") for item in samples],
    )
    known, held_out = cifar(wanted.cache, "train", 800), cifar(wanted.cache, "test", 500)
    nothing = noise(wanted.cache)
    measured: dict[str, list[dict[str, float]]] = {"solar cells, out of fold": [], "vehicles and animals": []}
    for seed in range(wanted.seeds):
        out_of_fold = elpv_results(cells, samples, seed)
        measured["solar cells, out of fold"].append(
            figures(out_of_fold, {"vehicles and animals": held_out, "noise": nothing})
        )
        order = np.random.default_rng(seed).permutation(len(known.labels))
        split = len(order) // 5
        item = run(known.take(order[split:]), known.take(order[:split]), held_out, seed)
        measured["vehicles and animals"].append(figures([item], {"solar cells": cells, "noise": nothing}))
    for name, runs in measured.items():
        print(f"\n{name}, {wanted.seeds} seeds{'mean':>28}{'least':>10}{'most':>10}")
        for figure in runs[0]:
            values = [item[figure] for item in runs]
            print(f"  {figure:<44}{statistics.mean(values):10.4f}{min(values):10.4f}{max(values):10.4f}")


def figures(results: list[Result], strangers: dict[str, Photos]) -> dict[str, float]:
    """Return what is shown of one seed."""
    before, after = (calibration_scores(joined(results, which)) for which in ("raw", "calibrated"))
    counts = [
        count_answers(item.calibrated.confidence, item.calibrated.correct, item.familiar, item.threshold)
        for item in results
    ]
    answered, photos = sum(item.answered for item in counts), sum(item.count for item in counts)
    right, calibrated = sum(item.correct for item in counts), joined(results, "calibrated")
    return {
        "accuracy": float(calibrated.correct.mean()),
        "ECE before": before.ece,
        "ECE after": after.ece,
        "ECE after - before": after.ece - before.ece,
        "Brier after - before": after.brier - before.brier,
        "log-loss after - before": after.nll - before.nll,
        f"precision of answers, target {SPEC.target_precision:g}": right / answered,
        "coverage": answered / photos,
        "target proven on validation (share of runs)": statistics.mean(item.reached for item in results),
        "in-distribution photos flagged": sum(item.out_of_distribution for item in counts) / photos,
        **{
            f"out of distribution among {name}": statistics.mean(
                float((item.novelty.score(some.rows) > 1).mean()) for item in results
            )
            for name, some in strangers.items()
        },
    }


if __name__ == "__main__":
    main()
