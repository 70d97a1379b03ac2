"""What commands that read labelled folders share: what the folders are."""

from enum import StrEnum
from typing import Annotated

import typer


class Layout(StrEnum):
    """What the folders directly in a data folder are."""

    classes = "classes"
    splits = "splits"


LayoutOption = Annotated[
    Layout | None,
    typer.Option(
        help="What the folders in DATA are: classes, or splits (train/val/test) that hold the classes. By "
        "default their names decide."
    ),
]


def layout_setting(layout: Layout | None) -> list[str]:
    """Return the override of the recipe that `--layout` stands for; none where it was not given."""
    return [] if layout is None else [f"data.layout={layout.value}"]
