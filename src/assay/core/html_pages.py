"""What all HTML pages share: the theme, and the templates' environment, which escapes every value."""

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from assay.core.printable_text import printable_value
from assay.core.text_layout import counted, format_percent

if TYPE_CHECKING:
    import jinja2


@cache
def theme_css() -> str:
    """Return the custom properties of every page, light and dark, as CSS."""
    return (resources.files("assay.core") / "theme.css").read_text(encoding="utf-8")


@cache
def page_css() -> str:
    """Return the theme and the parts of pages that are used, not only read: those of the studio and of the server."""
    return theme_css() + (resources.files("assay.core") / "page_style.css").read_text(encoding="utf-8")


def template_environment(package: str) -> "jinja2.Environment":
    """Return the environment of the templates in the folder `templates` of a package.

    Values are escaped, invisible characters in them are made visible, and an unknown variable is an error.
    """
    import jinja2  # noqa: PLC0415 - slow, and needed by pages with templates only

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable_value,
    )
    environment.filters |= {"no_break": no_break, "percent": _percent, "thousands": "{:,}".format, "counted": counted}
    return environment


def _percent(share: float | None, digits: int = 1) -> str:
    return no_break(format_percent(share, digits))


def no_break(text: str) -> str:
    """Keep a number and its percent sign on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
