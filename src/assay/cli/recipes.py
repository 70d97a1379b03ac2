"""`assay recipes`: what there is to choose from, and every value of a recipe."""

from typing import Annotated

import typer

from assay.cli.console import say, say_text

recipes = typer.Typer(help="List the recipes; show every value of one.", no_args_is_help=True)


@recipes.command("list")
def list_recipes() -> None:
    """List the recipes that come with Assay.

    Example: assay recipes list
    """
    from shutil import get_terminal_size
    from textwrap import fill

    from assay.recipe import load_recipe, recipe_names

    indent = max(map(len, recipe_names())) + 2
    width = min(get_terminal_size().columns, 110)
    for name in recipe_names():
        about = f"{name:<{indent}}{load_recipe(name).description}"
        say_text(fill(about, width, subsequent_indent=" " * indent))


@recipes.command()
def show(
    name: Annotated[str, typer.Argument(help="A recipe's name, or the path of a YAML file.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A value to change, as train.epochs=5.")
    ] = None,
) -> None:
    """Print a recipe with every value, as YAML that `-r` takes.

    Example: assay recipes show bottle > mine.yaml
    """
    from assay.recipe import dump_recipe, load_recipe

    say_text(dump_recipe(load_recipe(name, set_ or ())).rstrip("\n"))


@recipes.command()
def networks() -> None:
    """List the networks that `net.name` takes.

    Example: assay recipes networks
    """
    from assay.recipe import NETWORKS

    for name in NETWORKS:
        say(name)
    say("timm:NAME  (any network of the timm library, after pip install 'assay[timm]')")
