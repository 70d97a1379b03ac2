"""The help of commands in plain words: Typer shows types of Python, and keeps the line breaks of docstrings."""

import re
from collections.abc import Callable, Iterable
from inspect import cleandoc
from typing import Any

_TYPE_WORDS = (
    (re.compile(r"list\[(.*)\]"), r"\1"),
    (re.compile(r"\bstr\b"), "text"),
    (re.compile(r"\b(int|float)\b( range)?"), "number"),
    (re.compile(r"<bool>"), ""),
)
"""What Typer calls the types of values, and what is shown instead; a flag has no value."""


def use_plain_words(command: Any, context: Any) -> None:
    """Change what a command and its subcommands show with `--help`, in place.

    Args:
        command: of Typer, whose class is not public.
        context: of the command that has this one as its subcommand.
    """
    if command.help:
        command.help = join_lines(command.help)
    use_type_words(command.get_params(context))
    for subcommand in getattr(command, "commands", {}).values():
        use_plain_words(subcommand, context)


def use_type_words(parameters: Iterable[Any]) -> None:
    """Change what parameters of Typer show as the type of their value, in place."""
    for parameter in parameters:
        shown = getattr(parameter, "display_type", None)
        if shown is not None:
            parameter.display_type = _in_words(shown)


def join_lines(text: str) -> str:
    """Return a text whose paragraphs are one line each, so that they are wrapped at the width of the terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in cleandoc(text).split("\n\n"))


def type_in_words(text: str) -> str:
    """Return `<text>` for `<list[str]>`; empty for `<bool>`."""
    for pattern, words in _TYPE_WORDS:
        text = pattern.sub(words, text)
    return text


def _in_words(shown: Callable[..., str | None]) -> Callable[..., str | None]:
    def display_type(*args: Any, **settings: Any) -> str | None:
        text = shown(*args, **settings)
        return None if text is None else type_in_words(text)

    return display_type
