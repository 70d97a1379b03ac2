"""`assay augment`: write an augmented or cropped copy of a dataset, or a contact sheet of augmentations."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import echo
from assay.cli.options import DATA_HELP, LayoutOption, layout_setting
from assay.core.text_layout import counted

if TYPE_CHECKING:
    from assay.recipe import Recipe


def augment(
    data: Annotated[
        Path,
        typer.Argument(help=DATA_HELP),
    ],
    *,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="Name of a recipe, or a YAML file.")] = "default",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a recipe value, e.g. augment.offline.copies=3; repeatable."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Output folder for the photos and their augmented copies.")
    ] = None,
    layout: LayoutOption = None,
    copies: Annotated[
        int | None, typer.Option(min=0, help="Augmented copies per photo. (default: the recipe's)")
    ] = None,
    crop: Annotated[
        bool, typer.Option("--crop", help="Write only the recipe's region of interest, without copies.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the split and the augmentation.")] = 0,
    sheet: Annotated[
        Path | None, typer.Option(help="PNG file for a contact sheet of photos and their training augmentations.")
    ] = None,
    photos: Annotated[int, typer.Option(min=1, max=50, help="Photos on the contact sheet.")] = 4,
    variants: Annotated[
        int, typer.Option(min=1, max=20, help="Augmented variants of each photo on the contact sheet.")
    ] = 6,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write an augmented copy of a dataset, or a contact sheet of augmentations.

    A photo and its copies always stay in the same split. With --crop, only the region of interest of each
    photo is written, in the same class folders. To resume an interrupted run, repeat the command. Files in
    DATA are never modified.

    Example: assay augment photos/ -r bottle --to augmented/ --copies 5
    """
    from assay.cli.console import print_json
    from assay.core.errors import UsageError
    from assay.recipe import load_recipe

    if to is None and sheet is None:
        raise UsageError("nothing to write: give --to FOLDER for photos or --sheet FILE.png for a contact sheet")
    if crop and (to is None or copies):
        raise UsageError("--crop needs --to FOLDER and excludes --copies: augment the cropped folder afterwards")
    overrides = [
        *(set_ or ()),
        *layout_setting(layout),
        *([] if copies is None else [f"augment.offline.copies={copies}"]),
    ]
    settings = load_recipe(recipe, overrides)
    output: dict[str, object] = {}
    lines = []
    if sheet is not None:
        _draw(data, settings, sheet, photos=photos, variants=variants, seed=seed)
        output["sheet"] = str(sheet)
        lines.append(f"contact sheet of augmentations: {sheet}")
    if to is not None:
        output |= _crop(data, recipe, settings, to, lines) if crop else _write(data, settings, to, seed, lines)
    if json:
        print_json(output)
    else:
        echo(*lines)


def _draw(data: Path, recipe: "Recipe", sheet: Path, *, photos: int, variants: int, seed: int) -> None:
    from assay.core.errors import UsageError
    from assay.core.files import atomic_write
    from assay.data.offline_augmentation import draw_augmentation_sheet, pick_images

    if sheet.suffix.lower() != ".png":
        raise UsageError(f"--sheet {sheet} must end in .png")
    picture = draw_augmentation_sheet(pick_images(data, photos, seed, recipe.data.layout), recipe, variants, seed)
    with atomic_write(sheet) as temporary:
        picture.save(temporary)


def _crop(data: Path, name: str, recipe: "Recipe", to: Path, lines: list[str]) -> dict[str, object]:
    """Write the cropped dataset; append text output to `lines` and return the JSON output."""
    from assay.cli.console import progress_bars, shell_command
    from assay.core.text_layout import MAX_CLASSES_SHOWN, join_names
    from assay.data.loading import load_grouped_dataset
    from assay.data.offline_augmentation import write_cropped_dataset

    with progress_bars() as progress:
        # The class folders of the source are kept: a label mapping applies to training only.
        dataset = load_grouped_dataset(
            data,
            recipe.data.model_copy(update={"class_mapping": None}),
            value_range=recipe.preprocess.value_range,
            progress=progress,
        )
        written = write_cropped_dataset(dataset, recipe.preprocess, recipe.augment.offline, to, progress=progress)
    for warning in dataset.warnings:
        echo(f"note: {warning}", err=True)
    region = dict(zip(("left", "top", "right", "bottom"), recipe.preprocess.roi, strict=True))
    edges = ", ".join(f"{name} {value:g}" for name, value in region.items())
    lines.append(f"{to}: region of interest ({edges}) of {counted(written.photos, 'photo')}")
    counts = [f"{label} {count}" for label, count in dataset.counts().items()]
    lines.append(f"  {join_names(counts, MAX_CLASSES_SHOWN)}")
    if dataset.unreadable:
        lines.append(f"  skipped: {counted(len(dataset.unreadable), 'unreadable file')}")
    # The photos are cropped already: training must not crop them again.
    whole = "preprocess.roi=[0,0,1,1]"
    lines.append(f"next: {shell_command('train', written.manifest, '-r', name, '--set', whole)}")
    return {
        "manifest": str(written.manifest),
        "photos": written.photos,
        "kept": written.kept,
        "region": region,
        "unreadable": [sample.id for sample in dataset.unreadable],
    }


def _write(data: Path, recipe: "Recipe", to: Path, seed: int, lines: list[str]) -> dict[str, object]:
    """Write the augmented dataset; append text output to `lines` and return the JSON output."""
    from assay.cli.console import progress_bars, shell_command
    from assay.core.text_layout import MAX_CLASSES_SHOWN, join_names
    from assay.data import SPLITS, count_groups, read_manifest
    from assay.data.loading import load_split_dataset
    from assay.data.offline_augmentation import write_augmented_dataset

    with progress_bars() as progress:
        dataset = load_split_dataset(
            data, recipe.data, seed, value_range=recipe.preprocess.value_range, progress=progress
        )
        written = write_augmented_dataset(
            dataset, recipe.augment, to, seed, value_range=recipe.preprocess.value_range, progress=progress
        )
    for warning in dataset.warnings:
        echo(f"note: {warning}", err=True)
    result = read_manifest(written.manifest, dataset.classes)
    splits = {split: result.counts(split) for split in SPLITS}
    copies = counted(written.copies, "augmented copy", "augmented copies")
    lines.append(f"{to}: {counted(written.originals, 'photo')} and {copies}")
    if groups := count_groups(dataset.samples):
        lines.append(f"{counted(groups, 'group')} of similar photos, each kept within one split")
    for split, counts in splits.items():
        lines.append(
            f"  {split:<5} " + join_names([f"{label} {count}" for label, count in counts.items()], MAX_CLASSES_SHOWN)
        )
    lines.append(f"next: {shell_command('train', written.manifest)}")
    return {
        "manifest": str(written.manifest),
        "originals": written.originals,
        "copies": written.copies,
        "kept": written.kept,
        "groups": count_groups(dataset.samples),
        "unreadable": [sample.id for sample in dataset.unreadable],
        "splits": splits,
    }
