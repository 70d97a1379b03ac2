"""`assay fetch`: download a dataset by name or URL."""

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.console import echo, print_json, progress_bars, shell_command


def fetch(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Name of a dataset (omit it to list them), or the URL or path of a zip or tar archive.",
            metavar="NAME|URL|FILE",
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Output folder.", show_default="./NAME")] = None,
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", help="Expected SHA-256 of the archive, or its first digits."),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with the files of the named dataset, downloaded separately."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Download, verify and unpack a dataset. Interrupted downloads are resumed.

    Example: assay fetch cifar10 --to photos
    """
    if source is None:
        _list(json)
        return
    from assay.data.fetch.fetcher import fetch as fetch_data

    with progress_bars() as progress:
        fetched = fetch_data(source, to, sha256=sha256, downloads=from_, progress=progress)
    dataset = fetched.dataset
    words = (dataset.usage if dataset else "assay train {folder}").split()[1:]
    usage = shell_command(*(word.format(folder=fetched.folder) for word in words))
    if json:
        print_json(
            {
                "folder": str(fetched.folder),
                "written": fetched.written,
                "licence": dataset and dataset.licence,
                "citation": dataset and dataset.citation,
                "homepage": dataset and dataset.homepage,
                "next": usage,
            }
        )
        return
    echo(f"{fetched.folder} {'is ready' if fetched.written else 'already exists'}")
    if dataset:
        echo(f"licence:  {dataset.licence}")
        echo(f"cite:     {dataset.citation}")
        echo(f"about:    {dataset.homepage}")
    echo(f"next:     {usage}")


def _list(json: bool) -> None:
    from assay.data.fetch.registry import REGISTRY

    if json:
        print_json(
            [
                {
                    "name": dataset.name,
                    "summary": dataset.summary,
                    "bytes": dataset.size,
                    "licence": dataset.licence,
                    "homepage": dataset.homepage,
                    "files": [{"url": file.url, "sha256": file.sha256 or None} for file in dataset.files],
                    "content_sha256": dataset.content_sha256,
                }
                for dataset in REGISTRY.values()
            ]
        )
        return
    width = max(map(len, REGISTRY))
    for dataset in REGISTRY.values():
        echo(f"{dataset.name:<{width}}  {dataset.size / 1e6:>4.0f} MB  {dataset.summary} ({dataset.licence})")
