"""Result rows with targets, written as Markdown and JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

from processor_class import CLASSES

from assay.core.files import write_text

BUSY = 1.0
"""Load before the first benchmark above which other processes must have been running; later ones include our own."""


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        what: description.
        values: one per round.
        unit: after the value, such as " ms" or "×".
        target: the required value; None: reported without a verdict.
        at_least: whether the target is a minimum (else a maximum).
        note: how it was measured.
    """

    what: str
    values: tuple[float, ...]
    unit: str = ""
    target: float | None = None
    at_least: bool = True
    note: str = ""

    @property
    def figure(self) -> float:
        """The median over the rounds."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        # NaN compares false: it meets no target.
        return self.figure >= self.target if self.at_least else self.figure <= self.target

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "values": list(self.values), "figure": self.figure, "met": self.met}

    @classmethod
    def of(cls, told: dict[str, Any]) -> Self:
        """Read the values that `to_dict` returned."""
        names = ("what", "unit", "target", "at_least", "note")
        return cls(values=tuple(told["values"]), **{name: told[name] for name in names})


@dataclass(frozen=True)
class Section:
    """The result of one benchmark.

    Attributes:
        name: as `--only` takes it.
        title: what was measured, in a sentence.
        date: when it ended.
        rows: the figures.
        seconds: duration.
        load: processors that other programs used just before, and just after.
        failures: reasons why something could not be measured.
        raw: everything that was measured.
    """

    name: str
    title: str
    date: str
    rows: tuple[Row, ...]
    seconds: float
    load: tuple[float, float]
    failures: tuple[str, ...] = ()
    raw: Any = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "rows": [row.to_dict() for row in self.rows]}

    @classmethod
    def of(cls, told: dict[str, Any]) -> Self:
        """Read the values that `to_dict` returned."""
        names = ("name", "title", "date", "seconds", "raw")
        return cls(
            rows=tuple(map(Row.of, told["rows"])),
            load=(told["load"][0], told["load"][1]),
            failures=tuple(told["failures"]),
            **{name: told[name] for name in names},
        )


@dataclass(frozen=True)
class ClassResults:
    """The results on one class of processors.

    Attributes:
        processor: name of the class, as in `processor_class.py`.
        machine: processor, system and versions.
        options: options of the run that limit what was measured, for the first line.
        sections: the benchmarks.
    """

    processor: str
    machine: dict[str, Any]
    options: str
    sections: tuple[Section, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**vars(self), "sections": [item.to_dict() for item in self.sections]}

    @classmethod
    def of(cls, told: dict[str, Any]) -> Self:
        """Read the values that `to_dict` returned."""
        return cls(**{**told, "sections": tuple(Section.of(item) for item in told["sections"])})


def read_results(folder: Path) -> list[ClassResults]:
    """Read the results of earlier calls of `write_results`, if any."""
    try:
        result = json.loads((folder / "RESULTS.json").read_text(encoding="utf-8"))
        return [ClassResults.of(item) for item in result["classes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def write_results(folder: Path, new: ClassResults) -> None:
    """Write `RESULTS.md` and `RESULTS.json`, each atomically; results of other classes are kept."""
    known = {item.processor: item for item in read_results(folder)} | {new.processor: new}
    classes = [known[name] for name in CLASSES if name in known]
    result = {"classes": [item.to_dict() for item in classes]}
    write_text(folder / "RESULTS.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "RESULTS.md", page(classes))


def page(classes: Sequence[ClassResults]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# Benchmark results",
        "",
        "Written by `make bench`; [README.md](README.md) describes how each figure is measured. Speed depends on the",
        "processor's instructions for int8, so every class of processors has its own results.",
    ]
    for entry in classes:
        lines += _class_lines(entry)
    return "\n".join(lines) + "\n"


def _class_lines(entry: ClassResults) -> list[str]:
    with_target = [row for section in entry.sections for row in section.rows if row.met is not None]
    met = sum(row.met is True for row in with_target)
    failed = sum(len(section.failures) for section in entry.sections)
    lines = [
        "",
        f"## {CLASSES[entry.processor].name}",
        "",
        f"{met} of {len(with_target)} targets met, {failed} measurements failed{entry.options}.",
        "",
        *(f"- {name}: {value}" for name, value in entry.machine.items()),
    ]
    first = entry.sections[0].load[0] if entry.sections else 0.0
    if first > BUSY:
        lines += [
            "",
            f"**Taken on a busy machine** (load {first:.1f} at the start): ratios are",
            "then unreliable, because threads that wait for each other wait longer, most of all in the baselines.",
        ]
    for section in entry.sections:
        before, after = section.load
        took = f"{section.date}, {section.seconds:.0f} s; load {before:.1f} before, {after:.1f} after"
        lines += ["", f"### {CLASSES[entry.processor].name}: {section.name}", "", f"{section.title} {took}.", ""]
        if section.rows:
            lines += ["| figure | target | median | lowest to highest | |", "|---|---|---|---|---|"]
            lines += [_line(row) for row in section.rows]
        lines += [f"- **Failed**: {reason}" for reason in section.failures]
    return lines


def _line(row: Row) -> str:
    verdict = {None: "", True: "met", False: "**missed**"}[row.met]
    target = "" if row.target is None else f"{'≥' if row.at_least else '≤'} {_format(row.target, row.unit)}"
    spread = f"{_format(min(row.values))} to {_format(max(row.values))}" if len(row.values) > 1 else "once"
    what = f"{row.what} ({row.note})" if row.note else row.what
    return f"| {what} | {target} | {_format(row.figure, row.unit)} | {spread} | {verdict} |"


def _format(value: float, unit: str = "") -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:.{digits}f}" if value != int(value) or digits < 2 else f"{int(value)}"
    return f"{text}{unit}"
