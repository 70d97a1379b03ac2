"""`assay cache`: what Assay keeps on the disk so as not to do it twice."""

import typer

from assay.cli.console import say

cache = typer.Typer(help="Show or clear what is kept between runs.", no_args_is_help=True)


@cache.command()
def show() -> None:
    """Say where the caches are and how much they take.

    Example: assay cache show
    """
    from assay.files import cache_folder

    say(f"{cache_folder()}  (another place: set ASSAY_CACHE)")
    for folder in sorted(path for path in cache_folder().glob("*") if path.is_dir()):
        # Pixel files are sparse: what counts is the disk they occupy, not their length.
        taken = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
        say(f"  {folder.name:<10}{taken / 2**20:10.1f} MiB")


@cache.command()
def clear() -> None:
    """Remove what was kept of photos; downloaded weights stay. Running jobs are not disturbed.

    But for checks and benchmarks of a Parquet file with photos in it: these are read from the cache.

    Example: assay cache clear
    """
    from assay.data.cache import clear as clear_arrays
    from assay.data.feature_store import clear as clear_features
    from assay.data.rows import clear_tables

    say(f"{(clear_arrays() + clear_features() + clear_tables()) / 2**20:.1f} MiB given back")
