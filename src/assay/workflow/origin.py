"""What a report says of where a classifier and its photos come from: parts, findings, provenance.

Knows nothing of pages.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from assay.data import Dataset, Split
from assay.data.check import check
from assay.data.findings import FindingKind
from assay.errors import AssayError
from assay.evaluation.report import Finding
from assay.inference import Classifier
from assay.progress import Progress, silent
from assay.recipe import Recipe, SplitSpec

PARTS: Mapping[Split, str] = {"train": "training", "val": "validation", "test": "test"}
"""What people call the parts."""


def data_findings(
    source: Path, recipe: Recipe, progress: Progress = silent
) -> tuple[list[Finding] | None, bool]:
    """Check the data.

    Args:
        source: what was scanned.
        recipe: what it says of the data.
        progress: told while photos are opened and compared.

    Returns:
        What the check finds, none where the source can no longer be read; and whether it brings parts.
    """
    try:
        found = check(
            source,
            spec=recipe.data,
            seed=recipe.train.seed,
            progress=progress,
        )
    except AssayError:
        return None, False
    rows = [
        Finding(one.severity.value, one.title, one.advice, one.photos)
        for one in found.findings
        # The run knows its own warnings.
        if one.kind is not FindingKind.training
    ]
    return rows, bool(found.splits)


def oddities(dataset: Dataset) -> list[Finding]:
    """Return what was noticed when the photos were read: those that cannot be, and warnings."""
    return [
        *(Finding("warning", f"{one.id}: {one.reason}", "It was left out.") for one in dataset.unreadable),
        *(Finding("note", text.rstrip(".")) for text in dataset.warnings),
    ]


def split_sentence(dataset: Dataset, recipe: Recipe, *, brought: bool) -> str:
    """Tell in words how the photos were shared out.

    Args:
        dataset: with groups.
        recipe: shares, method and seed.
        brought: whether the data brings its own parts.
    """
    spec = recipe.data.split
    if brought:
        how = "The data brings its own parts, which were kept."
    else:
        shares = [f"{100 * share:.0f} % {PARTS[name]}" for name, share in _shares(spec) if share]
        how = f"Photos were shared out by chance, {', '.join(shares)}, each class in proportion (seed "
        how += f"{recipe.train.seed})."
    groups = [
        size for size in Counter(one.group for one in dataset.samples if one.group).values() if size > 1
    ]
    if groups and spec.method == "grouped":
        how += (
            f" {sum(groups):,} photos that look alike or belong together form {len(groups):,} groups; each "
            "group stays in one part, so that no photo is judged whose copy was learned."
        )
    return how


def _shares(spec: SplitSpec) -> tuple[tuple[Split, float], ...]:
    return ("train", spec.train), ("val", spec.val), ("test", spec.test)


def provenance(classifier: Classifier, data: Path) -> dict[str, str]:
    """Return where a classifier comes from and what it was judged on, by name, in the order to show."""
    info = classifier.info
    origin, recipe = info.provenance, Recipe.model_validate(info.provenance.recipe)
    bundle = "" if classifier.bundle is None else str(classifier.bundle.path)
    rows = {
        "Classifier": f"{info.name}, version {info.version}",
        "What it is for": info.description,
        "File": bundle,
        "Made": origin.created,
        "Network": f"{recipe.net.name}, {recipe.train.strategy}",
        "Photos judged": str(data),
        "Fingerprint of the data": origin.data[:16],
        "Seed": str(origin.seed),
        "Runtime and precision here": classifier.runs,
        "Libraries": ", ".join(f"{name} {version}" for name, version in origin.libraries.items()),
    }
    return {name: value for name, value in rows.items() if value}
