"""The list of recent projects, kept in the user's state folder."""

from pathlib import Path
from typing import Final

from assay.core.errors import AssayError
from assay.core.files import read_json_state
from assay.core.tables import write_json

MAX_RECENT: Final = 20
_FILE: Final = "projects.json"


class RecentProjects:
    """The folders of projects in a file, the last opened first."""

    def __init__(self, state: Path) -> None:
        self.state_folder = state
        self._path = state / _FILE

    def read(self) -> list[Path]:
        """Return the folders; empty if the file is missing or damaged."""
        try:
            state = read_json_state(self._path, {"projects": list}) if self._path.exists() else None
        except (AssayError, OSError):
            return []
        return [] if state is None else [Path(folder) for folder in state["projects"]]

    def add(self, folder: Path) -> None:
        """Put a project at the top of the list; `OSError` if the file cannot be written."""
        self._write([folder, *(other for other in self.read() if other != folder)])

    def remove(self, folder: Path) -> None:
        """Take a project from the list; its folder stays."""
        self._write([other for other in self.read() if other != folder])

    def _write(self, folders: list[Path]) -> None:
        self.state_folder.mkdir(parents=True, exist_ok=True)
        write_json(self._path, {"projects": [str(folder) for folder in folders[:MAX_RECENT]]}, mode=0o600)
