"""What people read about a classifier's confidence: is it honest, and how much is left unanswered?"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from assay.cli.console import percent

if TYPE_CHECKING:
    from assay.evaluation import Answered, Selection


def describe_confidence(told: Mapping[str, Any], part: str) -> str:
    """Say what calibration gained and what `unknown` costs.

    Args:
        told: the entry `confidence` of a bundle's metrics.
        part: the part whose answers are told, `test` or `val`.
    """
    calibration = told["calibration"]
    before, after = calibration["before"], calibration["after"]
    if calibration["temperature"] == 1:
        found = f"used as it is: no temperature makes it clearly more honest (error {before['ece']:.3f})"
    else:
        found = (
            f"temperature {calibration['temperature']:.3g}: calibration error {before['ece']:.3f} → "
            f"{after['ece']:.3f}, log-loss {before['nll']:.3f} → {after['nll']:.3f} on validation photos"
        )
    lines = [f"confidence  {found}"]
    chosen, counted = told.get("abstaining"), told.get(part, {}).get("answered")
    if chosen is not None and counted is not None:
        lines.append(f"unknown     {_answers(counted, chosen['threshold'])}")
        lines.append(f"            {_promise(chosen)}")
    return "\n".join(lines)


def describe_answers(answered: "Answered", threshold: float | None, selection: "Selection | None") -> str:
    """Say how many photos are answered and how well, and what another target promised if one was chosen."""
    lines = [f"unknown     {_answers(answered.to_dict(), threshold)}"]
    if selection is not None:
        lines.append(f"            {_promise(selection.to_dict())}")
    return "\n".join(lines)


def _answers(counted: Mapping[str, Any], threshold: float | None) -> str:
    if not counted["answered"]:
        return f"none of {counted['count']} photos is answered"
    least = "" if threshold is None else f" (confidence {threshold:.3f} or more)"
    return (
        f"{percent(counted['coverage'])} of {counted['count']} photos are answered{least}, "
        f"{percent(counted['precision'])} of the answers are right;\n"
        f"            photos that look unlike the training photos: {counted['unfamiliar']}"
    )


def _promise(chosen: Mapping[str, Any]) -> str:
    proof = (
        f"{chosen['count']} validation photos prove {percent(chosen['bound'])} "
        f"where {percent(chosen['coverage'])} are answered"
    )
    target = percent(chosen["target"])
    return f"target {target}: {proof}" if chosen["reached"] else f"target {target} is out of reach: {proof}"
