"""What the page says about runs that were compared on the same photos: which differences are more than chance."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from assay.studio.pages import text
from assay.studio.runs import RUNS_FOLDER, RunSummary

_COMMAND_ADVICE: Final = re.compile(r": (?:evaluate|compare) [^:]*$")
"""The end of a reason: what to do, for those who use the commands."""


@dataclass(frozen=True)
class ComparedRun:
    """A run in the comparison."""

    name: str
    accuracy: float
    """On the photos that are compared."""
    own: RunSummary | None
    """The run, if its accuracy is another one: on its own photos, with the labels of its time."""
    sentence: str
    """How it compares with the run of the highest accuracy; empty if there is nothing to say."""


@dataclass(frozen=True)
class ComparisonView:
    """The comparison: a sentence on all runs, one on the photos, and each of the runs.

    Attributes:
        summary: which differences are more than chance.
        scope: which photos and labels are compared.
        possible: whether any two runs could be compared.
        runs: each of them.
    """

    summary: str
    scope: str
    possible: bool
    runs: tuple[ComparedRun, ...]


def comparison_view(result: Mapping[str, Any], runs: Sequence[RunSummary] = ()) -> ComparisonView:
    """Return what the page shows of the output of `assay compare --json`; `runs` are those of the project."""
    best = next(item for item in result["compared"] if item["best"])
    tested = [item for item in result["compared"] if item["comparison"] is not None]
    worse = [item for item in tested if item["significant"]]
    if not tested:
        summary = text("compare_impossible")
    elif not worse:
        summary = text("compare_tie", photos=tested[0]["comparison"]["count"])
    elif len(worse) == len(tested) == len(result["compared"]) - 1:
        summary = text("compare_won", name=_name(best))
    else:
        summary = text("compare_mixed", photos=worse[0]["comparison"]["count"])
    known = {run.name: run for run in runs}
    return ComparisonView(
        summary,
        _scope(result) if tested else "",
        bool(tested),
        tuple(
            ComparedRun(
                _name(item),
                item["metrics"]["accuracy"],
                _own(item, known),
                _sentence(item, _name(best), won=bool(worse)),
            )
            for item in result["compared"]
        ),
    )


def _scope(result: Mapping[str, Any]) -> str:
    """Return which photos are compared, with which labels; empty for a comparison by an earlier version."""
    labels = result.get("labels")
    if not labels:
        return ""
    parts = [text("compare_scope", photos=labels["photos"])]
    if labels["changed"]:
        parts.append(text("compare_changed", count=labels["changed"]))
    if labels["left_out"]:
        parts.append(text("compare_left_out", count=labels["left_out"]))
    return " ".join(parts)


def _own(item: Mapping[str, Any], known: Mapping[str, RunSummary]) -> RunSummary | None:
    run, metrics = known.get(_name(item)), item["metrics"]
    if run is None or run.accuracy is None or (run.photos, run.accuracy) == (metrics["count"], metrics["accuracy"]):
        return None
    return run


def _sentence(item: Mapping[str, Any], best: str, *, won: bool) -> str:
    if item["best"]:
        return text("compare_highest") if won else ""
    comparison = item["comparison"]
    if comparison is None:
        return _COMMAND_ADVICE.sub("", str(item["reason"]))
    p_value = "< 0.001" if item["p_adjusted"] < 0.001 else f"= {item['p_adjusted']:.3f}"
    if item["significant"]:
        return text("compare_worse", points=f"{-100 * comparison['difference']:.1f}", name=best, p=p_value)
    if not comparison["difference"]:
        return text("compare_equal", name=best)
    return text("compare_chance", points=f"{-100 * comparison['difference']:.1f}", name=best, p=p_value)


def _name(item: Mapping[str, Any]) -> str:
    return str(item["name"]).removeprefix(f"{RUNS_FOLDER}/")
