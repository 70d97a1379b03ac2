"""The folder of a training run: its files, its state, and a lock against a second process.

A run can be killed at any moment: every file is written atomically, and `run.json` records what is left to
do.
"""

from collections.abc import Iterator
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


@contextmanager
def folder_lock(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes out within the block. On Windows it keeps nobody out.

    Args:
        path: the file that is locked; it is made and stays.
        patience: seconds to wait for another process to end.

    Raises:
        UsageError: another process is still at work.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path, patience))
        except TimeoutError:
            raise UsageError(f"another process is using {path.parent}: wait for it, or stop it first") from None
        yield


_STATE_FIELDS: JsonTypes = {
    "data": str,
    "like": (str, type(None)),
    "classes": list,
    "done": bool,
}


@dataclass(frozen=True)
class Run:
    """A folder that holds everything about one training: settings, photos, weights, figures."""

    folder: Path

    @property
    def recipe_file(self) -> Path:
        """Every setting, as YAML."""
        return self.folder / "recipe.yaml"

    @property
    def manifest(self) -> Path:
        """Every photo with its label and part."""
        return self.folder / "manifest.csv"

    @property
    def unreadable(self) -> Path:
        """Files that had to be left out, and why."""
        return self.folder / "unreadable.csv"

    @property
    def bundle(self) -> Path:
        """The classifier, as one file."""
        return self.folder / "model.assay"

    def evaluation(self, part: str) -> Path:
        """Return the folder of figures and pictures of one part."""
        return self.folder / "evaluation" / part

    @classmethod
    def create(cls, folder: Path, data: Path, recipe: Recipe, like: Path | None = None) -> "Run":
        """Begin a run in a new or empty folder.

        Args:
            folder: of the run.
            data: where the photos are.
            recipe: every setting.
            like: the run whose photos keep their parts.

        Raises:
            UsageError: something is in the folder already.
        """
        check_unused(folder)
        run = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # Made by one process alone, where two begin in one folder at the same time.
            run._state.touch(exist_ok=False)
        except FileExistsError:
            check_unused(folder)
        settings = dump_recipe(recipe)
        earlier = None if like is None else str(like.resolve())
        state: dict[str, Any] = {
            "assay": __version__,
            "data": str(data.resolve()),
            "like": earlier,
            "classes": [],
            "done": False,
            # For `open` to write recipe.yaml, should the process be killed before it is written below.
            "recipe": settings,
        }
        run._save(state)
        write_text(run.recipe_file, settings)
        return run

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Find a run that was begun.

        Raises:
            UsageError: the folder holds no run.
        """
        run = cls(folder)
        if _was_never_begun(folder):
            raise UsageError(_NEVER_BEGUN.format(folder=folder))
        if run._state.is_file() and not run.recipe_file.exists():
            settings = (read_json_state(run._state, _STATE_FIELDS) or {}).get("recipe")
            if isinstance(settings, str):
                write_text(run.recipe_file, settings)
        if not run._state.is_file() or not run.recipe_file.is_file():
            raise UsageError(f"{folder} holds no run: it needs the run.json and recipe.yaml of `assay train`")
        return run

    @property
    def data(self) -> Path:
        """Where the photos were scanned from."""
        return Path(str(self._load()["data"]))

    @property
    def like(self) -> Path | None:
        """The run whose photos keep their parts, if there is one."""
        earlier = self._load()["like"]
        return None if earlier is None else Path(str(earlier))

    def parts(self) -> dict[str, Split]:
        """Return the part of every photo, by id.

        Raises:
            UsageError: the run was stopped before photos were shared out.
        """
        if not self.manifest.is_file():
            raise UsageError(f"{self.folder} has no manifest.csv: name a run that got as far as training")
        samples = read_manifest(self.manifest, self.classes).samples
        return {sample.id: sample.split for sample in samples if sample.split is not None}

    @property
    def begun(self) -> bool:
        """Whether the run got as far as knowing which photo stands in which part."""
        return self._state.is_file() and self.recipe_file.is_file() and self.manifest.is_file()

    @property
    def done(self) -> bool:
        """Whether everything was trained, written and judged."""
        return bool(self._load()["done"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Order of the classes, as it was decided when the photos were first read."""
        return tuple(str(name) for name in self._load()["classes"])

    def remember(self, classes: tuple[str, ...]) -> None:
        """Record the order of the classes, which no manifest holds."""
        self._save({**self._load(), "classes": list(classes)})

    def recipe(self) -> Recipe:
        """Read the run's settings."""
        return load_recipe(self.recipe_file)

    def finish(self) -> None:
        """Record that nothing is left to do."""
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


_NEVER_BEGUN = (
    "{folder} holds a run that was stopped before its settings were written: delete the folder, or choose another --run"
)


def _was_never_begun(folder: Path) -> bool:
    """Return whether a process was killed right after it had reserved the folder with an empty run.json."""
    state = folder / "run.json"
    return state.is_file() and state.stat().st_size == 0 and not (folder / "recipe.yaml").exists()


def check_unused(folder: Path) -> None:
    """Refuse a folder that a new run may not write into.

    Raises:
        UsageError: something is in the folder already, or it is a file.
    """
    if _was_never_begun(folder):
        raise UsageError(_NEVER_BEGUN.format(folder=folder))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty: choose another --run, or go on with `assay train --resume {folder}`")


@contextmanager
def result_folder(chosen: Path | None, parent: Path, name: str) -> Iterator[Path]:
    """Give the folder for results: the chosen one, or the first new one of `name-1`, `name-2`, ...

    A new one is made at once, so that of two processes which start together each gets its own; if nothing has
    been put into it when the block ends, it goes again.

    Args:
        chosen: the folder that the user named; none: a new one.
        parent: where a new one is made.
        name: what a new one is called, before its number.
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
