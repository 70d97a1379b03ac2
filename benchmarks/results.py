"""Result rows with targets, written as Markdown and JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

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
        load: load average of the minute before, and of its last minute.
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


def read_results(folder: Path, machine: dict[str, Any]) -> list[Section]:
    """Read the results of an earlier call of `write_results` on the same machine with the same versions, if any."""
    try:
        result = json.loads((folder / "RESULTS.json").read_text(encoding="utf-8"))
        return [Section.of(item) for item in result["sections"]] if result["machine"] == machine else []
    except (OSError, ValueError, KeyError):
        return []


def write_results(folder: Path, machine: dict[str, Any], sections: Sequence[Section], options: str) -> None:
    """Write `RESULTS.md` and `RESULTS.json`, each atomically."""
    result = {"machine": machine, "options": options, "sections": [item.to_dict() for item in sections]}
    write_text(folder / "RESULTS.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "RESULTS.md", page(machine, sections, options))


def page(machine: dict[str, Any], sections: Sequence[Section], options: str) -> str:
    """Return the results as Markdown."""
    with_target = [row for section in sections for row in section.rows if row.met is not None]
    met = sum(row.met is True for row in with_target)
    failed = sum(len(section.failures) for section in sections)
    lines = [
        "# Benchmark results",
        "",
        f"Written by `make bench`{options}; [README.md](README.md) describes how each figure is measured.",
        f"{met} of {len(with_target)} targets met, {failed} measurements failed.",
        "",
        *(f"- {name}: {value}" for name, value in machine.items()),
    ]
    if sections and sections[0].load[0] > BUSY:
        lines += [
            "",
            f"**Taken on a busy machine** (load {sections[0].load[0]:.1f} at the start): ratios are",
            "then unreliable, because threads that wait for each other wait longer, most of all in the baselines.",
        ]
    for section in sections:
        before, after = section.load
        took = f"{section.date}, {section.seconds:.0f} s; load {before:.1f} before, {after:.1f} after"
        lines += [
            "",
            f"## {section.name}",
            "",
            f"{section.title} {took}.",
            "",
        ]
        if section.rows:
            lines += ["| figure | target | median | lowest to highest | |", "|---|---|---|---|---|"]
            lines += [_line(row) for row in section.rows]
        lines += [f"- **Failed**: {reason}" for reason in section.failures]
    return "\n".join(lines) + "\n"


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
