"""`assay studio`: from photos to a served classifier in the browser."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import echo
from assay.core.text_layout import counted

if TYPE_CHECKING:
    from assay.studio.service import Studio


def studio(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of the project: photos, labels, runs and models. Without it, the page lists recent projects "
            "and lets you choose or create a folder."
        ),
    ] = None,
    *,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port on this machine; 0: a free one. (default: that of last time)"),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
) -> None:
    """Label photos, train, understand, try and serve a classifier in the browser.

    Everything stays on this machine; only a browser that opens the printed address can use the page. Photos are never
    moved or changed: labels are stored in labels.csv beside them.

    Example: assay studio photos/
    """
    from assay.studio.app import run_studio
    from assay.studio.folder_lock import StudioIsOpenError

    def on_ready(address: str, opened: "Studio | None") -> None:
        title = "Choose a project"
        if opened is not None:
            title = f"{opened.project.name}: {counted(len(opened.project.photos), 'photo')}"
        echo(title, address, "Ctrl-C ends the studio; running jobs go on.")
        if browser:
            import webbrowser

            webbrowser.open(address)

    try:
        run_studio(folder, port, on_ready)
    except StudioIsOpenError as error:
        if error.address is not None:
            echo(error.address)
        raise
