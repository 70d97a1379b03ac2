"""`assay cache`: show or clear the caches on disk."""

import typer

from assay.cli.console import echo

cache = typer.Typer(help="Show or clear the caches on disk.", no_args_is_help=True)


@cache.command("show")
def show_cache() -> None:
    """Show the location and size of the caches.

    Example: assay cache show
    """
    from assay.core.files import cache_folder, disk_bytes

    echo(f"{cache_folder()}  (set ASSAY_CACHE to change it)")
    for folder in sorted(path for path in cache_folder().glob("*") if path.is_dir()):
        # Pixel files are sparse: count allocated blocks, not file lengths.
        taken = sum(disk_bytes(path) for path in folder.rglob("*") if path.is_file())
        echo(f"  {folder.name:<10}{taken / 2**20:10.1f} MiB")


@cache.command("clear")
def clear_cache() -> None:
    """Delete cached pixels, embeddings, features, tables and traced graphs.

    Downloaded weights, compiled models and measurements of engine settings are kept.

    Running jobs are not affected, except `assay check` and `assay bench` on a Parquet file that contains
    photos: they read from the cache.

    Example: assay cache clear
    """
    from assay.core.files import cache_folder, delete_files
    from assay.data.array_cache import clear_array_caches
    from assay.data.hf_datasets import clear_table_images
    from assay.data.image_feature_cache import clear_features

    freed = clear_array_caches() + clear_features() + clear_table_images()
    freed += delete_files(path for path in (cache_folder() / "graphs").glob("*") if path.is_file())
    echo(f"{freed / 2**20:.1f} MiB freed")
