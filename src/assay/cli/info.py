"""`assay info`, `assay recipes` and `assay cache`: show a classifier, the recipes and the caches."""

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.console import echo, echo_text, print_json_text


def info(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show what a classifier knows, how good it is and where it comes from.

    Example: assay info model.assay
    """
    from assay.bundle import Bundle

    bundle = Bundle.open(model)
    print_json_text(bundle.info.model_dump_json(indent=2)) if json else echo_text(bundle.card.rstrip())


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
        echo_text(fill(about, width, subsequent_indent=" " * indent))


@recipes.command()
def show_recipe(
    name: Annotated[str, typer.Argument(help="A recipe's name, or the path of a YAML file.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="A value to change, as train.epochs=5.")] = None,
) -> None:
    """Print a recipe with every value, as YAML that `-r` takes.

    Example: assay recipes show bottle > mine.yaml
    """
    from assay.recipe import dump_recipe, load_recipe

    echo_text(dump_recipe(load_recipe(name, set_ or ())).rstrip("\n"))


@recipes.command()
def networks() -> None:
    """List the networks that `net.name` takes.

    Example: assay recipes networks
    """
    from assay.recipe import NETWORKS

    for name in NETWORKS:
        echo(name)
    echo("timm:NAME  (any network of the timm library, after pip install 'assay[timm]')")


cache = typer.Typer(help="Show or clear what is kept between runs.", no_args_is_help=True)


@cache.command()
def show_cache() -> None:
    """Say where the caches are and how much they take.

    Example: assay cache show
    """
    from assay.core.files import cache_folder

    echo(f"{cache_folder()}  (another place: set ASSAY_CACHE)")
    for folder in sorted(path for path in cache_folder().glob("*") if path.is_dir()):
        # Pixel files are sparse: what counts is the disk they occupy, not their length.
        taken = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
        echo(f"  {folder.name:<10}{taken / 2**20:10.1f} MiB")


@cache.command()
def clear_cache() -> None:
    """Remove what was kept of photos; downloaded weights stay. Running jobs are not disturbed.

    But for checks and benchmarks of a Parquet file with photos in it: these are read from the cache.

    Example: assay cache clear
    """
    from assay.data.cache import clear_array_caches as clear_arrays
    from assay.data.feature_store import clear_features
    from assay.data.hf_datasets import clear_table_images

    echo(f"{(clear_arrays() + clear_features() + clear_table_images()) / 2**20:.1f} MiB given back")
