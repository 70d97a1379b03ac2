"""The sections of `docs/results.md`: their columns, and the sentences around their tables."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from number_text import percent, spread

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One metric in a table."""

    title: str
    metric: str
    share: bool = True
    """Whether it is shown as percent."""


@dataclass(frozen=True)
class Section:
    """The text of one experiment."""

    name: str
    """Of its JSON file."""
    title: str
    script: str
    text: str
    columns: tuple[Column, ...]
    more: Callable[[Result], str] | None = None
    """Sentences and tables after the table, from the experiment's JSON."""


ACCURACY = Column("accuracy", "accuracy")
BALANCED = Column("balanced accuracy", "balanced_accuracy")


def _mean(result: Result, name: str, metric: str) -> float | None:
    for row in result["rows"]:
        if row["name"] == name and row["runs"]:
            value: float | None = row["metrics"][metric]["mean"]
            return value
    return None


_SPLITS = {"train": "training", "val": "validation", "test": "test"}


def vehicle_animal(result: Result) -> str:
    """Return all metrics of the variants on all splits, and the errors by original class."""
    lines = ["| variant | photos | accuracy | loss | precision |", "| --- | --- | --- | --- | --- |"]
    for row in result["rows"]:
        metrics = row["metrics"]
        if metrics.get("train_accuracy", {}).get("mean") is None:
            continue
        lines += [
            f"| {row['name']} | {title} | {spread(metrics[f'{split}_accuracy'])} "
            f"| {spread(metrics[f'{split}_loss'], share=False)} | {spread(metrics[f'{split}_precision'])} |"
            for split, title in _SPLITS.items()
        ]
    parts = []
    if len(lines) > 2:
        parts.append("The variants on all splits; the same as CSV is in `experiments/results/vehicle-animal.csv`:")
        parts.append("\n".join(lines))
    for name, errors in (result.get("errors_by_class") or {}).items():
        listed = ", ".join(f"{entry['source_label']} {entry['errors']} of {entry['photos']}" for entry in errors)
        parts.append(f"Errors of `{name}` by original class: {listed}.")
    if pictured := result.get("pictured"):
        parts.append(f"The errors of `{pictured}` with the highest confidence, by original class:")
        parts.append("![Test images that were classified wrongly, by original class](images/vehicle-animal-errors.png)")
    return "\n\n".join(parts)


def magnetic_tiles(result: Result) -> str:
    """Return the difference between the two ways to split, and the picture."""
    leaking = _mean(result, "photo-by-photo split", "accuracy")
    honest = _mean(result, "near-duplicates grouped", "accuracy")
    if leaking is None or honest is None:
        return ""
    return (
        f"The same classifier is reported to be {100 * (leaking - honest):.1f} points more accurate if photos "
        "are split one by one. Photos of "
        "the same tile under different light are then in the training and the test split, and the classifier "
        "needs only to recognize the tile:\n\n"
        "![Pairs of photos of the same tile, which a photo-by-photo split separates](images/near-duplicates.png)\n\n"
        "Photos of each pair are in one group; `assay train` and `assay crossval` find such groups and keep "
        "each in one split."
    )


def bottle(result: Result) -> str:
    """Return the responses of the server."""
    responses = result.get("responses")
    if not responses:
        return ""
    lines = "\n".join(f"    {json.dumps(response)}" for response in (*responses.values(), result["health"]))
    return (
        f"The photos are {result['bursts']} bursts, so the interval understates the uncertainty: photos of a "
        "burst are not independent. "
        "A classifier trained on these photos with the recipe `bottle` and served with "
        "`assay serve` answers `POST /classify` for an open "
        "and a closed bottle, and "
        f"`GET /health`, with:\n\n{lines}"
    )


def elpv(result: Result) -> str:
    """Return metrics by cell type."""
    lines = ["| method | cells | accuracy | F1 | ROC-AUC |", "| --- | --- | --- | --- | --- |"]
    for row in result["rows"]:
        for kind in ("mono", "poly"):
            values = [row["metrics"].get(f"{kind}_{name}", {}).get("mean") for name in ("accuracy", "f1", "roc_auc")]
            if None not in values:
                lines.append(
                    f"| {row['name']} | {kind} | {100 * values[0]:.1f} % | {values[1]:.3f} | {values[2]:.3f} |"
                )
    return "By cell type:\n\n" + "\n".join(lines)


def custom_resnet(result: Result) -> str:
    """Return precision and recall by class, a table per data set, and the labelled video."""
    tables: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, entries in (result.get("classes") or {}).items():
        data_set, _, variant = name.partition(", ")
        tables.setdefault(data_set, {})[variant] = entries
    parts = []
    for data_set, variants in tables.items():
        lines = [f"| class | {' | '.join(variants)} |", "| --- |" + " --- |" * len(variants)]
        for rows in zip(*variants.values(), strict=True):
            cells = (f"{percent(row['precision'] or 0)}, {percent(row['recall'] or 0)}" for row in rows)
            lines.append(f"| {rows[0]['class']} | {' | '.join(cells)} |")
        parts += [f"Precision and recall by class, {data_set}:", "\n".join(lines)]
    video = result.get("video")
    if video:
        parts.append(
            f"`assay watch` labelled a video of {video['photos']} test images of Fashion-MNIST, two per second: "
            f"{video['correct']} of {video['frames']} frames correctly."
        )
    return "\n\n".join(parts)


def default_comparison(result: Result) -> str:
    """Return the difference of the default to the best other method, by data set."""
    by_set: dict[str, dict[str, dict[int, float]]] = {}
    for row in result["rows"]:
        values = row["metrics"].get("accuracy", {}).get("values") or []
        if values:
            data_set, _, method = row["name"].partition(": ")
            by_set.setdefault(data_set, {})[method] = dict(zip(row["seeds"], values, strict=True))
    gains, lines = [], ["| data set | best other | seeds of both | default | other | difference |", "|" + " --- |" * 6]
    for data_set, found in by_set.items():
        default = found.pop("default", {})
        found.pop("default, balanced accuracy", None)  # it has another objective
        shared = {method: sorted(default.keys() & values.keys()) for method, values in found.items()}
        differences = {
            method: fmean(default[seed] - found[method][seed] for seed in seeds)
            for method, seeds in shared.items()
            if seeds
        }
        if not differences:
            continue
        best = min(differences, key=differences.__getitem__)
        # A rounded difference of zero has no sign.
        seeds, gain = shared[best], round(100 * differences[best], 6) + 0.0
        gains.append(gain)
        ours, other = (100 * fmean(values[seed] for seed in seeds) for values in (default, found[best]))
        lines.append(f"| {data_set} | {best} | {len(seeds)} | {ours:.1f} % | {other:.1f} % | {gain:+.1f} points |")
    if not gains:
        return ""
    return (
        "The default and the other method that is best relative to it, on the seeds that both were run with:\n\n"
        + "\n".join(lines)
        + f"\n\nMean difference over these data sets: {fmean(gains):+.1f} points."
    )


SECTIONS = (
    Section(
        "default-comparison",
        "The default recipe against other methods",
        "default_comparison.py --fastai PYTHON",
        "The same photos in the same splits for all methods: 5,000 training images of CIFAR-10, 2,000 of "
        "Fashion-MNIST (both with 2,000 test images), and the other data sets split 60/15/25, grouped and stratified. "
        "Logistic regression is scikit-learn's with its default settings, on standardized pooled features of "
        "EfficientNet-Lite0 at 224 pixels. fastai's `fine_tune` has the same backbone with the same weights, and as "
        "many epochs (at most 20) as fit into the time of the default if only its training steps are counted; its "
        "augmentations come in addition, so that it took up to 3.4 times as long. The previous default recipe has "
        "as many epochs as fit, at most 15. On the unbalanced magnetic tiles the default is also trained for the "
        "balanced accuracy. "
        "Coverage is the share of test photos that the classifier answers with a target precision of 99 %. "
        "Every method had one core to itself while other programs used the other one; the time of each is in the list "
        "of settings. Logistic regression used features that the default had computed before; its time is without "
        "them. The test split of the button cells has 14 photos, of which one is 7 points. Of the processors in the "
        "settings, family 26 is a Zen 5, family 25 model 17 a Zen 4 and family 25 model 1 a Zen 3, on which less "
        "training fits into the time. The default used intermediate features with seed 0 of all sets, seeds 1 and 2 "
        "of the button cells, and seed 1 of ELPV and of the magnetic tiles; the other runs are of the version before, "
        "without them. ECE if calibrated is what a perfectly calibrated classifier with the same "
        "confidences would show on as many photos, by chance alone (over the runs whose predictions were kept).",
        (
            ACCURACY,
            BALANCED,
            Column("ECE", "ece", share=False),
            Column("ECE if calibrated", "ece_if_calibrated", share=False),
            Column("coverage", "coverage"),
            Column("precision of the answers", "precision_of_answers"),
        ),
        default_comparison,
    ),
    Section(
        "intermediate-features",
        "Features of intermediate layers",
        "intermediate_features.py",
        "Linear probes (logistic regression, EfficientNet-Lite0 at 224 pixels) on the means of the last feature map, "
        "and besides on statistics of four intermediate feature maps, on training and validation photos of the first "
        "section (of large sets every second one), all of which are held out once. Chosen were the standard deviations "
        "(`net.intermediate_features`).",
        (ACCURACY, Column("log loss", "log_loss", share=False)),
    ),
    Section(
        "vehicle-animal",
        "Vehicles and animals",
        "vehicle_animal.py",
        "CIFAR-10 with two classes; half of the official test images (500 per original class), validation images taken "
        "from the 50,000 training images. `fast` is a ResNet of eight layers, trained for 17 epochs; `fast, ten "
        "labels` is the same, trained on the ten original labels (`train.source_labels`). "
        "The published 95.37 % are for a ConvNet trained for up to 50 epochs. The variants are those of "
        "`assay variants cifar10 vehicle-animal`, "
        "trained for eight epochs with a one-cycle schedule.",
        (
            Column("test accuracy", "test_accuracy"),
            Column("test loss", "test_loss", share=False),
            Column("test precision", "test_precision"),
            Column("validation accuracy", "val_accuracy"),
        ),
        vehicle_animal,
    ),
    Section(
        "vehicle-animal-transfer",
        "Vehicles and animals with a pretrained backbone",
        "vehicle_animal_transfer.py",
        "EfficientNet-Lite0: a linear head on frozen features at 224 pixels, and all layers fine-tuned at 128 pixels, "
        "two epochs after one for the head. ResNet-50 V2, the published choice, was not trained, because its weights "
        "could not be downloaded here. The test images are half of the official ones.",
        (ACCURACY, Column("F1", "f1", share=False), Column("ROC-AUC", "roc_auc", share=False)),
    ),
    Section(
        "elpv",
        "Defects: solar cells",
        "defect_elpv.py",
        "2,624 solar cells, defective from a defect probability of 0.5. Five-fold cross-validation, and the "
        "published 75/25 split; on the latter also the recipe `default`, which fine-tunes from its probe. Published "
        "accuracies with other protocols: 82.44 % (support vector machine), 88.42 % (fine-tuned VGG-19).",
        (ACCURACY, Column("F1", "f1", share=False), Column("ROC-AUC", "roc_auc", share=False)),
        elpv,
    ),
    Section(
        "magnetic-tiles",
        "Defects: magnetic tiles",
        "magnetic_tiles.py",
        "1,344 photos of six classes, cross-validated with five folds. The first two rows differ only in how "
        "photos are assigned to folds.",
        (ACCURACY, BALANCED),
        magnetic_tiles,
    ),
    Section(
        "button-cells",
        "Button cells",
        "button_cell.py",
        "55 photos of three classes, 12 of them in groups of identical files; five folds. The published "
        "ResNet-50 was not trained here, because "
        "its ImageNet weights could not be downloaded on the machine.",
        (ACCURACY, BALANCED, Column("accuracy of a fold", "fold_accuracy")),
    ),
    Section(
        "bottles",
        "Bottles",
        "bottle.py",
        "20 photos; every burst is the test split once, and the classifier sees the top 30 % of the photo.",
        (ACCURACY, BALANCED),
        bottle,
    ),
    Section(
        "custom-resnet",
        "Your own classes: a ResNet from scratch",
        "custom_resnet.py",
        "The recipe `custom-resnet` on 64 x 64 pixels, trained from random weights on the publisher's training images, "
        "of which 15 % are for validation, and tested on the publisher's test images, of CIFAR-10 on half of them: as "
        "it is, and with shifts, flips and a one-cycle schedule, also with a deeper network. AdamW was tried after "
        "SGD, whose training loss was still high after 15 epochs.",
        (Column("test accuracy", "accuracy"),),
        custom_resnet,
    ),
)
"""In the order of the page."""
