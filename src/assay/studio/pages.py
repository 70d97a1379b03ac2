"""Templates, texts and assets of the pages."""

import hashlib
import json
import re
from functools import cache
from importlib import resources
from typing import Any, Final

import jinja2

from assay import __version__
from assay.core.html_pages import page_css, template_environment
from assay.core.printable_text import UNSAFE_CHARACTERS

LANGUAGE: Final = "en"
_MEDIA_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_PLACEHOLDER: Final = re.compile(r"\{(?P<name>\w+)(?:\|(?P<one>[^|}]*)\|(?P<many>[^|}]*))?\}")
STEPS: Final = ("photos", "check", "train", "understand", "try", "use")


@cache
def texts() -> dict[str, str]:
    """Return the texts of the pages by key; sentences of the commands themselves are not among them."""
    file = resources.files("assay.studio.web") / f"text.{LANGUAGE}.json"
    loaded: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return loaded


def text(key: str, **values: object) -> str:
    """Return a text with its placeholders filled in, as `t` in `dom.js` does.

    `{count}` is replaced by a value, a number with separators of thousands; `{count|photo|photos}` by the first
    alternative if the number is 1, else by the second.

    Raises:
        KeyError: there is no such text, or a value is missing.
    """

    def fill(found: re.Match[str]) -> str:
        value = values[found["name"]]
        if found["one"] is not None:
            return found["one"] if value == 1 else found["many"]
        return f"{value:,}" if isinstance(value, int) else str(value)

    return _PLACEHOLDER.sub(fill, texts()[key])


@cache
def assets() -> tuple[str, dict[str, tuple[bytes, str]]]:
    """Return the hash of all assets, which their addresses contain, and content and media type by name."""
    folder = resources.files("assay.studio.web") / "assets"
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _MEDIA_TYPES}
    files["style.css"] = page_css().encode()
    files["text.js"] = (
        f"export const texts = {json.dumps(texts(), ensure_ascii=True)};\nexport const unsafe = {_unsafe_pattern()};\n"
    ).encode()
    digest = hashlib.sha256(b"".join(name.encode() + body for name, body in sorted(files.items()))).hexdigest()[:12]
    return digest, {name: (body, _MEDIA_TYPES[name.rpartition(".")[2]]) for name, body in files.items()}


def _unsafe_pattern() -> str:
    """Return the characters that are shown escaped, as a regular expression of JavaScript."""
    return "/[\\x00-\\x1f" + re.sub(r"\\U0*([0-9a-f]+)", r"\\u{\1}", UNSAFE_CHARACTERS) + "]/gu"


@cache
def _environment() -> jinja2.Environment:
    environment = template_environment("assay.studio.web")
    environment.globals |= {
        "t": text,
        "steps": STEPS,
        "version": __version__,
        "assets": f"/assets/{assets()[0]}",
        "language": LANGUAGE,
    }
    environment.filters |= {
        "duration": format_duration,
        "kilobytes": lambda size: f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB",
    }
    return environment


def render(template: str, **values: Any) -> str:
    """Render a template; every value is escaped, and invisible characters in names are made visible."""
    return _environment().get_template(template).render(values)


def format_duration(seconds: float) -> str:
    """Return a duration as `45 s`, `2 min 05 s` or `1 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
