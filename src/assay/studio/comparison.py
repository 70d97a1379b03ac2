"""What the page says about runs that were compared on the same photos: which differences are more than chance."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from assay.studio.pages import text
from assay.studio.runs import RUNS_FOLDER

_COMMAND_ADVICE: Final = re.compile(r": (?:evaluate|compare) [^:]*$")
"""The end of a reason: what to do, for those who use the commands."""


@dataclass(frozen=True)
class ComparedRun:
    """A run in the comparison."""

    name: str
    accuracy: float
    sentence: str
    """How it compares with the run of the highest accuracy; empty if there is nothing to say."""


@dataclass(frozen=True)
class ComparisonView:
    """The comparison: a sentence on all runs, and each of them."""

    summary: str
    runs: tuple[ComparedRun, ...]


def comparison_view(result: Mapping[str, Any]) -> ComparisonView:
    """Return what the page shows of the output of `assay compare --json`."""
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
    return ComparisonView(
        summary,
        tuple(
            ComparedRun(_name(item), item["metrics"]["accuracy"], _sentence(item, _name(best), won=bool(worse)))
            for item in result["compared"]
        ),
    )


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
