"""Colours, type and spacing that all pages share."""

from functools import cache
from importlib import resources


@cache
def theme_css() -> str:
    """Return the custom properties of every page, light and dark, as CSS."""
    return (resources.files("assay.core") / "theme.css").read_text(encoding="utf-8")
