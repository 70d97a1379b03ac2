"""The sentences of a report: the result, the baseline, the positive class, calibration and abstention."""

from collections.abc import Sequence

from assay.core.tables import format_percent, shorten
from assay.evaluation.metrics import ClassMetrics, Metrics
from assay.evaluation.report.context import ReportContext

_MAX_NAMED = 8
_NAME_WIDTH = 40


def question_sentence(context: ReportContext, classes: Sequence[str]) -> str:
    """Return what was asked of the classifier."""
    if context.question:
        return context.question
    named = [f"“{shorten(name, _NAME_WIDTH)}”" for name in classes[:_MAX_NAMED]]
    if len(classes) > _MAX_NAMED:
        listed = f"{', '.join(named)} or one of {len(classes) - _MAX_NAMED} other classes"
    else:
        listed = f"{', '.join(named[:-1])} or {named[-1]}"
    return f"What does a photo show: {listed}?"


def photo_count_text(context: ReportContext, count: int) -> str:
    """Return how many photos of which part: `656 test photos`."""
    return _plural(count, f"{context.part} photo".strip())


def result_sentence(metrics: Metrics, context: ReportContext) -> str:
    """Return the result in one sentence with its interval."""
    if metrics.accuracy is None or metrics.accuracy_interval is None:
        return "There were no photos to evaluate the classifier on."
    low, high = map(format_percent, metrics.accuracy_interval)
    return (
        f"The classifier is correct on {metrics.correct:,} of {photo_count_text(context, metrics.count)}: "
        f"{format_percent(metrics.accuracy)} ({format_percent(metrics.level, 0)} interval {low} to {high})."
    )


def baseline_sentence(metrics: Metrics) -> str:
    """Return what an answer without looking would reach, as a sentence; empty without photos."""
    if not metrics.count:
        return ""
    largest = max(metrics.classes, key=lambda one: one.support)
    share = format_percent(largest.support / metrics.count)
    return f"{share} is what always answering “{shorten(largest.name, _NAME_WIDTH)}” achieves."


def positive_class_sentence(metrics: Metrics) -> str:
    """Return what the result means for the class that is looked for, if there is one; else for the worst."""
    if metrics.positive is not None:
        return _positive_class_text(metrics.of(metrics.positive))
    known = [one for one in metrics.classes if one.recall is not None]
    if not known or len(metrics.classes) < 3:
        return ""
    worst = min(known, key=lambda one: (one.recall, -one.support))
    return (
        f"The class with the lowest recall is “{shorten(worst.name, _NAME_WIDTH)}”: {_correct_count(worst)} of "
        f"{worst.support:,} photos recognized ({format_percent(worst.recall)})."
    )


def _positive_class_text(one: ClassMetrics) -> str:
    name = f"“{shorten(one.name, _NAME_WIDTH)}”"
    parts = []
    if one.support:
        missed = one.support - _correct_count(one)
        parts.append(
            f"Of {_plural(one.support, 'photo')} labelled {name}, {_correct_count(one):,} "
            f"({format_percent(one.recall)}) were found and {missed:,} missed."
        )
    if one.predicted and one.precision is not None:
        right = round(one.precision * one.predicted)
        parts.append(
            f"{name} was predicted {_plural(one.predicted, 'time')}, {right:,} of them correctly "
            f"({format_percent(one.precision)}): {_plural(one.predicted - right, 'false alarm')}."
        )
    elif one.support:
        parts.append(f"{name} was never predicted.")
    return " ".join(parts)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _correct_count(one: ClassMetrics) -> int:
    return round((one.recall or 0) * one.support)


def calibration_sentence(ece: float | None, before: float | None) -> str:
    """Return how far confidence can be believed, from the calibration errors after and before; 0-1."""
    if ece is None:
        return ""
    said = f"On average, confidence and accuracy differ by {100 * ece:.1f} percentage points"
    if before is not None:
        said += f"; before calibration by {100 * before:.1f}"
    return said + "."


def abstention_sentence(context: ReportContext) -> str:
    """Return what the classifier itself leaves unanswered; empty where it always answers."""
    counted = context.answered
    if counted is None or not counted.count:
        return ""
    reasons = [] if context.threshold is None else [f"its confidence is below {format_percent(context.threshold)}"]
    reasons.append("a photo is unlike the training photos")
    said = (
        f"The classifier abstains (“unknown”) when {' or '.join(reasons)}: "
        f"of {_plural(counted.count, 'photo')} it answers {counted.answered:,} ({format_percent(counted.coverage)})"
    )
    if counted.answered:
        said += f", {counted.correct:,} of them correctly ({format_percent(counted.precision)})"
    return f"{said}; {counted.out_of_distribution:,} unlike the training photos."
