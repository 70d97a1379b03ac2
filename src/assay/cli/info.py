"""`assay info`, `assay recipes` and `assay cache`: show a classifier, the recipes and the caches."""

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.console import echo, echo_text, print_json_text


def info(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print all fields as JSON.")] = False,
) -> None:
    """Show the model card of a classifier: classes, metrics, training data and provenance.

    Example: assay info model.assay
    """
    from assay.bundle import Bundle

    bundle = Bundle.open(model)
    print_json_text(bundle.info.model_dump_json(indent=2)) if json else echo_text(bundle.card.rstrip())


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


cache = typer.Typer(help="Show or clear the caches on disk.", no_args_is_help=True)


@cache.command("show")
def show_cache() -> None:
    """Show the location and size of the caches.

    Example: assay cache show
    """
    from assay.core.files import cache_folder

    echo(f"{cache_folder()}  (set ASSAY_CACHE to change it)")
    for folder in sorted(path for path in cache_folder().glob("*") if path.is_dir()):
        # Pixel files are sparse: count allocated blocks, not file lengths.
        taken = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
        echo(f"  {folder.name:<10}{taken / 2**20:10.1f} MiB")


@cache.command("clear")
def clear_cache() -> None:
    """Delete cached pixels, features and tables. Downloaded weights are kept.

    Running jobs are not affected, except `assay check` and `assay bench` on a Parquet file that contains
    photos: they read from the cache.

    Example: assay cache clear
    """
    from assay.data.array_cache import clear_array_caches as clear_arrays
    from assay.data.hf_datasets import clear_table_images
    from assay.data.statistics_cache import clear_features

    echo(f"{(clear_arrays() + clear_features() + clear_table_images()) / 2**20:.1f} MiB freed")
