"""Which project is open: one at a time, opened for the whole session or chosen on the start page."""

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from assay.studio.folder_lock import FolderLock
from assay.studio.project import Project
from assay.studio.recent_projects import RecentProjects
from assay.studio.service import Studio

_POLL_SECONDS: Final = 0.3


class Workspace:
    """Opens projects and closes them. Thread-safe.

    Attributes:
        recent: the projects that were opened before, also in other sessions.
        choosable: whether the start page is shown, so that another project can be opened.
        studio: of the open project; None: none is open.
    """

    def __init__(self, recent: RecentProjects, *, choosable: bool) -> None:
        self.recent = recent
        self.choosable = choosable
        self.studio: Studio | None = None
        self._folder_lock: FolderLock | None = None
        self._address = ""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, folder: Path) -> Studio:
        """Open a project, which is created if it is missing; the one that was open is closed, its jobs go on.

        Raises:
            AssayError: the folder cannot be read, or another studio uses it.
        """
        with self._lock:
            if self.studio is not None and self.studio.project.folder == folder.resolve():
                return self.studio
            project = Project.open(folder)
            project.state_folder.mkdir(exist_ok=True)
            lock = FolderLock(project.state_folder, str(folder))  # before the open project is closed
            lock.publish(self._address)
            self._close()
            self.studio, self._folder_lock = Studio(project), lock
            if self._loop is not None:
                self.studio.changes.bind(self._loop)
        with suppress(OSError):  # without the list of recent projects, the project can be used all the same
            self.recent.add(project.folder)
        return self.studio

    def publish(self, address: str) -> None:
        """Store the address of this studio, with the token, for a second one that opens the same project."""
        with self._lock:
            self._address = address
            if self._folder_lock is not None:
                self._folder_lock.publish(address)

    async def run(self) -> None:
        """Bind the projects to the running event loop, and follow the jobs of the open one until cancelled."""
        self._loop = asyncio.get_running_loop()
        if self.studio is not None:
            self.studio.changes.bind(self._loop)
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            if self.studio is not None:
                await self.studio.refresh_jobs()

    def end_streams(self) -> None:
        """End the streams of changes to open pages, which would delay the end of the server."""
        if self.studio is not None:
            self.studio.changes.close()

    def close(self) -> None:
        """Close the open project; its jobs go on."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self.studio is not None:
            self.studio.close()
        if self._folder_lock is not None:
            self._folder_lock.close()
        self.studio = self._folder_lock = None
