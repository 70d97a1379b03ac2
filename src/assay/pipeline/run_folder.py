"""The folder of a training run: its files, its state, and a lock against a second process.

A run can be killed at any moment: every file is written atomically, and `run.json` records what is left to
do.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay import __version__
from assay.core.errors import AssayError, UsageError
from assay.core.files import JsonTypes, read_json_state, write_text
from assay.core.locks import file_lock
from assay.core.tables import write_json
from assay.data import Split, read_manifest
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.training.history import EpochMetrics, read_metrics


@contextmanager
def folder_lock(path: Path, timeout: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on a file within the block; no lock on Windows.

    Args:
        path: the file; it is created and stays.
        timeout: seconds to wait for another process.

    Raises:
        UsageError: another process holds the lock.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path, timeout))
        except TimeoutError:
            raise UsageError(f"another process is using {path.parent}: wait for it, or stop it first") from None
        yield


_STATE_FIELDS: JsonTypes = {
    "data": str,
    "keep_splits": (str, type(None)),
    "classes": list,
    "done": bool,
}


FINE_TUNING, SPLIT_FOLDER, FINAL_FOLDER = "fine-tuning", "split", "final"
"""Folders of the strategy `auto`: of all fine-tuning, and within it of the network trained on the training split or,
with cross-validation, on all training and validation images. Those of the folds are called `fold-1-of-3` and so on."""
FOLD_PREFIX = "fold-"
METRICS_TABLE = "metrics.csv"
"""One row per epoch."""
METRICS_FILE = "metrics.json"
"""In the evaluation folder of a split."""

SPLIT_TITLES: Mapping[Split, str] = {"train": "training", "val": "validation", "test": "test"}
"""Names of the splits in texts."""


@dataclass(frozen=True)
class Run:
    """The folder of one training run: settings, images, weights, metrics."""

    folder: Path

    @property
    def recipe_file(self) -> Path:
        """Every setting, as YAML."""
        return self.folder / "recipe.yaml"

    @property
    def manifest(self) -> Path:
        """Every image with its label and split."""
        return self.folder / "manifest.csv"

    @property
    def unreadable(self) -> Path:
        """Files that could not be read, with the reason."""
        return self.folder / "unreadable.csv"

    @property
    def epochs(self) -> tuple[EpochMetrics, ...]:
        """Those of its training, or of fine-tuning by the strategy `auto`; empty if only heads were fitted.

        Raises:
            AssayError: the file of the metrics was changed.
        """
        folder = self.epochs_folder
        return () if folder is None else read_metrics(folder / METRICS_TABLE)

    @property
    def epochs_folder(self) -> Path | None:
        """The folder with the metrics and curves of the epochs; None if only heads were fitted.

        With cross-validation it is that of the first fold: the final network has no images that it was not trained on.
        """
        tuning = self.folder / FINE_TUNING
        folders = (self.folder, tuning / SPLIT_FOLDER, *tuning.glob(f"{FOLD_PREFIX}1-of-*"))
        return next((folder for folder in folders if (folder / METRICS_TABLE).is_file()), None)

    @property
    def has_epochs_of_fold(self) -> bool:
        """Whether the epochs are those of the network of a fold; the final one was trained as long, on all images."""
        folder = self.epochs_folder
        return folder is not None and folder.name.startswith(FOLD_PREFIX)

    @property
    def learning_curve(self) -> Path:
        """The learning curve, if one was measured."""
        return self.folder / "learning_curve.json"

    @property
    def bundle(self) -> Path:
        """The classifier."""
        return self.folder / "model.assay"

    def evaluation(self, split: str) -> Path:
        """Return the folder of metrics and figures of a split."""
        return self.folder / "evaluation" / split

    @classmethod
    def create(cls, folder: Path, data: Path, recipe: Recipe, keep_splits: Path | None = None) -> "Run":
        """Create a run in a new or empty folder.

        Args:
            folder: of the run.
            data: the images.
            recipe: every setting.
            keep_splits: the run whose images keep their splits.

        Raises:
            UsageError: the folder is in use.
        """
        check_unused(folder)
        run = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # Only one of two processes that start in the same folder creates the file.
            run._state.touch(exist_ok=False)
        except FileExistsError:
            check_unused(folder)
        settings = dump_recipe(recipe)
        run._save(
            {
                "assay": __version__,
                "data": str(data.resolve()),
                "keep_splits": None if keep_splits is None else str(keep_splits.resolve()),
                "classes": [],
                "done": False,
                # From which `open` writes recipe.yaml if the process is killed before it is written below.
                "recipe": settings,
            }
        )
        write_text(run.recipe_file, settings)
        return run

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Open an existing run, complete or not.

        Raises:
            UsageError: the folder holds no run.
        """
        run = cls(folder)
        if folder.is_file():
            raise UsageError(f"{folder} is a file: give the folder of a run of `assay train`, such as {folder.parent}")
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}: give that of a run of `assay train`")
        if _is_uninitialized(folder):
            raise UsageError(_UNINITIALIZED.format(folder=folder))
        if run._state.is_file() and not run.recipe_file.exists():
            settings = (read_json_state(run._state, _STATE_FIELDS) or {}).get("recipe")
            if isinstance(settings, str):
                write_text(run.recipe_file, settings)
        if not run._state.is_file() or not run.recipe_file.is_file():
            raise UsageError(f"{folder} holds no run: it needs the run.json and recipe.yaml of `assay train`")
        return run

    @property
    def data(self) -> Path:
        """The images' location."""
        return Path(str(self._load()["data"]))

    @property
    def keep_splits(self) -> Path | None:
        """The run whose images keep their splits, if there is one."""
        earlier = self._load()["keep_splits"]
        return None if earlier is None else Path(str(earlier))

    @property
    def has_splits(self) -> bool:
        """Whether the run got as far as splitting the images."""
        return self._state.is_file() and self.recipe_file.is_file() and self.manifest.is_file()

    @property
    def done(self) -> bool:
        """Whether the run is complete."""
        return bool(self._load()["done"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the network's outputs."""
        return tuple(str(name) for name in self._load()["classes"])

    def splits(self) -> dict[str, Split]:
        """Return the split of every image, by id.

        Raises:
            UsageError: the run was interrupted before the images were split.
        """
        if not self.manifest.is_file():
            raise UsageError(f"{self.folder} has no manifest.csv: name a run that got as far as training")
        samples = read_manifest(self.manifest, self.classes).samples
        return {sample.id: sample.split for sample in samples if sample.split is not None}

    def recipe(self) -> Recipe:
        """Read the run's settings."""
        return load_recipe(self.recipe_file)

    def store_classes(self, classes: tuple[str, ...]) -> None:
        """Store the order of the classes, which the manifest does not hold."""
        self._save({**self._load(), "classes": list(classes)})

    def mark_incomplete(self) -> None:
        """Mark the run as incomplete, until `mark_complete`."""
        if self.done:
            self._save({**self._load(), "done": False})

    def mark_complete(self) -> None:
        """Mark the run as complete."""
        self._save({**self._load(), "done": True})

    @property
    def _state(self) -> Path:
        return self.folder / "run.json"

    def _save(self, state: dict[str, Any]) -> None:
        write_json(self._state, state)

    def _load(self) -> dict[str, Any]:
        state = read_json_state(self._state, _STATE_FIELDS)
        if state is None:
            raise AssayError(f"{self._state} is damaged: start a new run")
        return state


_UNINITIALIZED = (
    "{folder} holds a run that was stopped before its settings were written: delete the folder, or choose another --run"
)


def _is_uninitialized(folder: Path) -> bool:
    """Whether a process was killed right after it had reserved the folder with an empty run.json."""
    state = folder / "run.json"
    return state.is_file() and state.stat().st_size == 0 and not (folder / "recipe.yaml").exists()


def check_unused(folder: Path, command: str = "train") -> None:
    """Check that a new run or experiment may be written into a folder.

    Args:
        folder: new or empty.
        command: the command that resumes; empty: there is none.

    Raises:
        UsageError: the folder is not empty, or is a file.
    """
    if _is_uninitialized(folder):
        raise UsageError(_UNINITIALIZED.format(folder=folder))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        resume = f", or resume it with `assay {command} --resume {folder}`" if command else ""
        raise UsageError(f"{folder} is not empty: choose another --run{resume}")


@contextmanager
def result_folder(chosen: Path | None, parent: Path, name: str) -> Iterator[Path]:
    """Yield the folder for results: the chosen one, or the first unused one of `name-1`, `name-2`, ...

    A new folder is created at once, so that two processes never get the same; it is removed if it is still empty at
    the end of the block.

    Args:
        chosen: folder named by the user; None: a new one.
        parent: of a new folder.
        name: of a new folder, before the number.
    """
    if chosen is not None:
        yield chosen
        return
    bare = not parent.exists()
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / f"{name}-{number}"
        try:
            folder.mkdir()
            break
        except FileExistsError:
            number += 1
    try:
        yield folder
    finally:
        with suppress(OSError):  # something is in it
            folder.rmdir()
            if bare:
                parent.rmdir()
