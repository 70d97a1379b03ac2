"""From the labels found to the classes of a classifier: mapping, order, and what makes no sense.

The one place where the order of classes is decided.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from assay.data.samples import Sample, natural_key
from assay.errors import AssayError
from assay.text import without_invisible

Mapped = Mapping[str, Sequence[str]]
"""New class: the labels it is made of."""


def map_labels(samples: Iterable[Sample], mapping: Mapped) -> list[Sample]:
    """Give every sample its class of `mapping`, and keep the label it had as `source_label`.

    A sample that has one of the new classes already is left as it is, so that the manifest of an earlier run
    can be used with the same recipe; only a name that is both, old and new, is taken for the old one unless
    the source label says otherwise.

    Raises:
        AssayError: labels that the mapping does not name.
    """
    target = {source: name for name, sources in mapping.items() for source in sources}
    mapped, unknown = [], set()
    for sample in samples:
        if sample.source_label in mapping.get(sample.label, ()):
            mapped.append(sample)
        elif sample.label in target:
            mapped.append(replace(sample, label=target[sample.label], source_label=sample.label))
        elif sample.label in mapping:
            mapped.append(sample)
        else:
            unknown.add(sample.label)
    if unknown:
        raise AssayError(
            f"data.mapping does not say what {named(unknown)} belongs to; "
            f"add it under one of {named(mapping)}"
        )
    return mapped


def refuse_collisions(labels: Iterable[str]) -> None:
    """Refuse labels that differ only in case, blanks or invisible characters: one class spelt in two ways.

    Raises:
        AssayError: two such labels, or one of nothing that can be seen.
    """
    seen: dict[str, str] = {}
    for label in sorted(set(labels)):
        visible = " ".join(without_invisible(label).split())
        if not visible:
            raise AssayError(f"the class {label!r} has a name that nobody can see; give it another one")
        other = seen.setdefault(visible.casefold(), label)
        if other != label:
            what = "case" if other.casefold() == label.casefold() else "case, blanks or invisible characters"
            raise AssayError(
                f"classes {other!r} and {label!r} differ only in {what}; give both the same name"
            )


def class_order(
    labels: Iterable[str], mapping: Mapped | None, classes: Sequence[str] | None
) -> tuple[str, ...]:
    """Decide the order of the classes: the given one, else the mapping's, else by name with numbers in order.

    Raises:
        AssayError: a label is none of the given `classes`.
    """
    found = set(labels)
    if classes is not None:
        if unknown := found - set(classes):
            raise AssayError(
                f"the data has the class {named(unknown)}, but the classifier knows {named(classes)}"
            )
        return tuple(classes)
    if mapping is not None:
        return tuple(mapping)
    return tuple(sorted(found, key=natural_key))


def named(names: Iterable[str], most: int = 10) -> str:
    """Return names quoted, in natural order unless they have one, at most `most` of them."""
    ordered = sorted(names, key=natural_key) if isinstance(names, set) else list(names)
    rest = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(repr(name) for name in ordered[:most]) + rest


def empty_classes(classes: Sequence[str], samples: Iterable[Sample]) -> list[str]:
    """Return the classes without any sample, in class order."""
    counts = Counter(sample.label for sample in samples)
    return [name for name in classes if not counts[name]]
