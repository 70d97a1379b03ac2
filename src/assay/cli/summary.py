"""What people read when photos have been shared out, and when a classifier has been judged."""

from typing import TYPE_CHECKING

from assay.text import printable

if TYPE_CHECKING:
    from assay.data import Dataset
    from assay.evaluation import Metrics


def describe_data(dataset: "Dataset", advised: int) -> str:
    """Say how many photos of which class stand in which part, and what is odd about them."""
    from assay.data import SPLITS, kept_together, straddling
    from assay.tables import align, listed

    counts = {part: dataset.counts(part) for part in SPLITS}
    shown, rest = _shown(dataset)
    rows = [["", *SPLITS], *([name, *(str(counts[part][name]) for part in SPLITS)] for name in shown)]
    if rest:
        others = [str(sum(counts[part][name] for name in rest)) for part in SPLITS]
        rows.append([f"{len(rest)} more classes", *others])
    lines = [f"{len(dataset)} photos, {len(dataset.classes)} classes", *align(rows).split("\n")]
    kept = kept_together(dataset.samples) - len(straddling(dataset.samples))
    if kept:
        lines.append(f"{kept} groups of photos (copies, bursts, your own groups) each kept in one part")
    few = [name for name, count in dataset.counts().items() if count < advised]
    if few:
        lines.append(f"warning: fewer than {advised} photos of {listed(few)}; more would help")
    lines += [f"warning: {sentence}" for sentence in [*_contradictions(dataset), *dataset.warnings]]
    lines += [f"left out: {one.path}: {one.reason}" for one in dataset.unreadable[:5]]
    if len(dataset.unreadable) > 5:
        lines.append(f"left out: {len(dataset.unreadable) - 5} more files")
    if dataset.skipped:
        lines.append(
            "skipped: " + ", ".join(f"{count} {reason}" for reason, count in dataset.skipped.items())
        )
    return "\n".join(map(printable, lines))


def _shown(dataset: "Dataset") -> "tuple[list[str], list[str]]":
    """Return the classes that get a line, in their order, and the others; of many the smallest get one."""
    from assay.tables import MOST_CLASSES, MOST_LISTED

    names = list(dataset.classes)
    if len(names) <= MOST_CLASSES:
        return names, []
    counts = dataset.counts()
    smallest = set(sorted(names, key=lambda name: counts[name])[:MOST_LISTED])
    return [name for name in names if name in smallest], [name for name in names if name not in smallest]


def _contradictions(dataset: "Dataset") -> list[str]:
    """Say which photos, byte for byte the same, stand under two labels."""
    labels: dict[str, set[str]] = {}
    for sample in dataset.samples:
        labels.setdefault(sample.digest or sample.id, set()).add(sample.label)
    twice = [sample.id for sample in dataset.samples if len(labels[sample.digest or sample.id]) > 1]
    if not twice:
        return []
    named = ", ".join(twice[:3]) + (", ..." if len(twice) > 3 else "")
    return [f"{len(twice)} photos stand under two labels at once ({named}): `assay check` shows them"]


def describe_metrics(metrics: "Metrics", part: str) -> str:
    """Say how good a classifier is, in one sentence and a line for the class that is looked for."""
    lines = [f"{part}: {metrics.sentence}"]
    if metrics.count and metrics.positive is not None:
        one = metrics.of(metrics.positive)
        figures = [("precision", one.precision), ("recall", one.recall), ("F1", one.f1)]
        told = ", ".join(f"{name} {value:.3f}" for name, value in figures if value is not None)
        lines.append(f"{metrics.positive}: {told}")
    return "\n".join(map(printable, lines))
