"""`assay recipes`: list the built-in recipes and networks, or show a recipe."""

from typing import Annotated

import typer

from assay.cli.console import echo, echo_text

recipes = typer.Typer(help="List the built-in recipes and networks, or show a recipe.", no_args_is_help=True)


@recipes.command("list")
def list_recipes() -> None:
    """List the built-in recipes.

    Example: assay recipes list
    """
    from shutil import get_terminal_size
    from textwrap import fill

    from assay.recipe import load_recipe, recipe_names

    indent = max(map(len, recipe_names())) + 2
    width = min(get_terminal_size().columns, 110)
    for name in recipe_names():
        about = f"{name:<{indent}}{load_recipe(name).description}"
        echo_text(fill(about, width, subsequent_indent=" " * indent))


@recipes.command("show")
def show_recipe(
    name: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a recipe value, e.g. train.epochs=5; repeatable.")
    ] = None,
) -> None:
    """Print all values of a recipe as YAML, which `-r` accepts.

    Example: assay recipes show bottle > mine.yaml
    """
    from assay.recipe import dump_recipe, load_recipe

    echo_text(dump_recipe(load_recipe(name, set_ or ())).rstrip("\n"))


@recipes.command()
def networks() -> None:
    """List the values of `net.name`.

    Example: assay recipes networks
    """
    from assay.recipe import NETWORKS

    for name in NETWORKS:
        echo(name)
    echo('timm:NAME  (any network of the timm library; needs pip install "assay[timm]")')
