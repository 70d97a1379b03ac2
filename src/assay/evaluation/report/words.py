"""The sentences of a report: what was asked, what came out, and what that means for the class looked for."""

from collections.abc import Sequence

from assay.evaluation.metrics import ClassMetrics, Metrics
from assay.evaluation.report.context import ReportContext
from assay.tables import percent, shorten

_NAMED = 8
_NAME = 40


def question(context: ReportContext, classes: Sequence[str]) -> str:
    """Return what was asked of the classifier."""
    if context.question:
        return context.question
    named = [f"“{shorten(name, _NAME)}”" for name in classes[:_NAMED]]
    if len(classes) > _NAMED:
        listed = f"{', '.join(named)} or one of {len(classes) - _NAMED} other classes"
    else:
        listed = f"{', '.join(named[:-1])} or {named[-1]}"
    return f"What does a photo show: {listed}?"


def photos_called(context: ReportContext, count: int) -> str:
    """Return how many photos of which part: `656 test photos`."""
    return _counted(count, f"{context.part} photo".strip())


def verdict(metrics: Metrics, context: ReportContext) -> str:
    """Return the result in one sentence with its interval."""
    if metrics.accuracy is None or metrics.accuracy_interval is None:
        return "There were no photos to judge the classifier on."
    low, high = map(percent, metrics.accuracy_interval)
    return (
        f"The classifier is right on {metrics.correct:,} of {photos_called(context, metrics.count)}: "
        f"{percent(metrics.accuracy)} ({percent(metrics.level, 0)} interval {low} to {high})."
    )


def baseline(metrics: Metrics) -> str:
    """Return what an answer without looking would reach, as a sentence; empty without photos."""
    if not metrics.count:
        return ""
    largest = max(metrics.classes, key=lambda one: one.support)
    share = percent(largest.support / metrics.count)
    return f"Always answering “{shorten(largest.name, _NAME)}” without looking would be right on {share}."


def looked_for(metrics: Metrics) -> str:
    """Return what the result means for the class that is looked for, if there is one; else for the worst."""
    if metrics.positive is not None:
        return _found(metrics.of(metrics.positive))
    known = [one for one in metrics.classes if one.recall is not None]
    if not known or len(metrics.classes) < 3:
        return ""
    worst = min(known, key=lambda one: (one.recall, -one.support))
    return (
        f"It knows “{shorten(worst.name, _NAME)}” least well: {_right(worst)} of "
        f"{worst.support:,} such photos recognised ({percent(worst.recall)})."
    )


def _found(one: ClassMetrics) -> str:
    name = f"“{shorten(one.name, _NAME)}”"
    parts = []
    if one.support:
        missed = one.support - _right(one)
        parts.append(
            f"Of {_counted(one.support, 'photo')} labelled {name} it found {_right(one):,} "
            f"({percent(one.recall)}) and missed {missed:,}."
        )
    if one.predicted and one.precision is not None:
        right = round(one.precision * one.predicted)
        parts.append(
            f"It answered {name} {_counted(one.predicted, 'time')}, {right:,} of them rightly "
            f"({percent(one.precision)}): {_counted(one.predicted - right, 'false alarm')}."
        )
    elif one.support:
        parts.append(f"It never answered {name}.")
    return " ".join(parts)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _right(one: ClassMetrics) -> int:
    return round((one.recall or 0) * one.support)


def calibration_sentence(ece: float | None, before: float | None) -> str:
    """Return how far confidence can be believed, from the calibration errors after and before; 0-1."""
    if ece is None:
        return ""
    said = f"On average the confidence is {100 * ece:.1f} percentage points away from how often it is right"
    if before is not None:
        said += f"; before calibration it was {100 * before:.1f}"
    return said + "."


def answering(context: ReportContext) -> str:
    """Return what the classifier itself leaves unanswered; empty where it always answers."""
    counted = context.answered
    if counted is None or not counted.count:
        return ""
    reasons = [] if context.threshold is None else [f"is less than {percent(context.threshold)} sure"]
    reasons.append("meets a photo unlike its training photos")
    said = (
        f"As it is set, it says “unknown” where it {' or '.join(reasons)}: "
        f"of {_counted(counted.count, 'photo')} it answers {counted.answered:,} ({percent(counted.coverage)})"
    )
    if counted.answered:
        said += f", {counted.correct:,} of them rightly ({percent(counted.precision)})"
    return f"{said}; {counted.unfamiliar:,} looked unfamiliar."
