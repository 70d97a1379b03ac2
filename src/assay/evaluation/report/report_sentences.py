"""The sentences of a report: the question, the result, and what it means."""

from collections.abc import Sequence

from assay.core.text_layout import counted, format_percent, shorten
from assay.evaluation.metrics import ClassMetrics, Metrics
from assay.evaluation.report.report_data import ReportContext

_MAX_NAMED = 8
_NAME_WIDTH = 40


def question_sentence(context: ReportContext, classes: Sequence[str]) -> str:
    """Return the context's question, or one made from the class names."""
    if context.question:
        return context.question
    named = [f"“{shorten(name, _NAME_WIDTH)}”" for name in classes[:_MAX_NAMED]]
    if len(classes) > _MAX_NAMED:
        rest = len(classes) - _MAX_NAMED
        others = "another class" if rest == 1 else f"one of {rest:,} other classes"
        return f"What does a photo show: {', '.join(named)} or {others}?"
    return f"What does a photo show: {', '.join(named[:-1])} or {named[-1]}?"


def result_sentence(metrics: Metrics, context: ReportContext) -> str:
    """Return the accuracy with its interval."""
    if metrics.accuracy is None or metrics.accuracy_interval is None:
        return "There were no photos to evaluate the classifier on."
    low, high = map(format_percent, metrics.accuracy_interval)
    photos = counted(metrics.count, f"{context.split_name} photo".strip())
    return (
        f"The classifier is correct on {metrics.correct:,} of {photos}: "
        f"{format_percent(metrics.accuracy)} ({format_percent(metrics.level, 0)} interval {low} to {high})."
    )


def baseline_sentence(metrics: Metrics) -> str:
    """Return the accuracy of always predicting the most frequent class; empty without images."""
    if not metrics.count:
        return ""
    largest = max(metrics.classes, key=lambda entry: entry.support)
    share = format_percent(largest.support / metrics.count)
    return f"{share} is what always answering “{shorten(largest.name, _NAME_WIDTH)}” achieves."


def positive_class_sentence(metrics: Metrics) -> str:
    """Return the result for the positive class; if there is none, for the class with the lowest recall, if below 1."""
    if metrics.positive is not None:
        return _positive_class_text(metrics.of(metrics.positive))
    known = [entry for entry in metrics.classes if entry.recall is not None]
    if not known or len(metrics.classes) < 3:
        return ""
    worst = min(known, key=lambda entry: (entry.recall, -entry.support))
    if worst.recall == 1:
        return ""
    return (
        f"The class with the lowest recall is “{shorten(worst.name, _NAME_WIDTH)}”: {_found(worst)} of "
        f"{counted(worst.support, 'photo')} recognized ({format_percent(worst.recall)})."
    )


def calibration_sentence(ece: float | None, before: float | None, if_calibrated: float | None) -> str:
    """Describe the expected calibration error, 0-1: after and before temperature scaling, and if it were perfect."""
    if ece is None or if_calibrated is None:
        return ""
    sentence = f"On average, confidence and accuracy differ by {100 * ece:.1f} percentage points"
    if before is not None:
        sentence += f"; before calibration by {100 * before:.1f}"
    return (
        f"{sentence}. A perfectly calibrated classifier would be expected to show {100 * if_calibrated:.1f} on as many "
        "photos, by chance alone."
    )


def abstention_sentence(context: ReportContext) -> str:
    """Describe when and how often the classifier abstains; empty where it never does."""
    counts = context.answer_counts
    if counts is None or not counts.count:
        return ""
    reasons = [] if context.threshold is None else [f"its confidence is below {format_percent(context.threshold)}"]
    reasons.append("a photo is unlike the training photos")
    sentence = (
        f"The classifier abstains (“unknown”) when {' or '.join(reasons)}: "
        f"of {counted(counts.count, 'photo')} it answers {counts.answered:,} ({format_percent(counts.coverage)})"
    )
    if counts.answered:
        sentence += f", {counts.correct:,} of them correctly ({format_percent(counts.precision)})"
    return f"{sentence}; {counts.out_of_distribution:,} unlike the training photos."


def _positive_class_text(entry: ClassMetrics) -> str:
    name = f"“{shorten(entry.name, _NAME_WIDTH)}”"
    sentences = []
    if entry.support:
        sentences.append(
            f"Of {counted(entry.support, 'photo')} labelled {name}, {_found(entry):,} "
            f"({format_percent(entry.recall)}) were found and {entry.support - _found(entry):,} missed."
        )
    if entry.predicted and entry.precision is not None:
        correct = round(entry.precision * entry.predicted)
        sentences.append(
            f"{name} was predicted {counted(entry.predicted, 'time')}, {correct:,} of them correctly "
            f"({format_percent(entry.precision)}): {counted(entry.predicted - correct, 'false alarm')}."
        )
    elif entry.support:
        sentences.append(f"{name} was never predicted.")
    return " ".join(sentences)


def _found(entry: ClassMetrics) -> int:
    return round((entry.recall or 0) * entry.support)
