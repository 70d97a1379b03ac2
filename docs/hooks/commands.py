"""The page of all commands, written from the command line itself when the documentation is built."""

from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.main import get_command

from assay.cli.main import app

PAGE = "reference/commands.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, PAGE, content=reference()))
    return files


def reference() -> str:
    """Return the page as Markdown: a section for each command, with its example and its options."""
    parts = ["# Commands\n\nWhat `assay COMMAND --help` says, in one page.\n"]
    parts += [_section(name, command) for name, command in commands()]
    return "\n".join(parts)


def commands() -> Iterator[tuple[str, Any]]:
    """Give every command that does something, by what is typed: `assay keys create`."""
    waiting = [("assay", get_command(app))]
    while waiting:
        name, command = waiting.pop(0)
        children = getattr(command, "commands", None)
        if children is None:
            yield name, command
        else:
            waiting = [(f"{name} {child}", one) for child, one in children.items()] + waiting


def _section(name: str, command: Any) -> str:
    lines = [f"## {name}", ""]
    for paragraph in (command.help or "").split("\n\n"):
        text = " ".join(paragraph.split())
        lines += [f"    {text.removeprefix('Example: ')}" if text.startswith("Example: ") else text, ""]
    rows = [row for parameter in command.params if (row := _row(parameter))]
    if rows:
        lines += ["| | | |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _row(parameter: Any) -> str | None:
    text = getattr(parameter, "help", None) or ""
    if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
        return None
    names, default = [*parameter.opts, *parameter.secondary_opts], parameter.default
    if not names[0].startswith("-"):
        names = [names[0].upper() + ("..." if parameter.nargs == -1 else "")]
    usual = "" if default is None or default is False or callable(default) else f"`{default}`"
    cells = [", ".join(f"`{name}`" for name in names), text, usual]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
