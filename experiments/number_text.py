"""Figures of the page of results as text."""

from collections.abc import Callable, Mapping
from typing import Any


def percent(value: float, digits: int = 1) -> str:
    """Return a share as percent."""
    return f"{100 * value:.{digits}f} %"


def spread(summary: Mapping[str, Any] | None, *, share: bool = True) -> str:
    """Return mean and standard deviation, such as `86.1 % ± 1.2 %`; a dash without values."""
    if not summary or summary["mean"] is None:
        return "–"
    show: Callable[[float], str] = percent if share else "{:.3f}".format
    return show(summary["mean"]) + ("" if summary["std"] is None else f" ± {show(summary['std'])}")
