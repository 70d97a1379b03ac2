"""The studio of one project: its photos, jobs and runs, the open classifier, and the notification of its pages."""

import asyncio
import hashlib
import os
import shutil
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from assay.core.errors import AssayError, UsageError
from assay.inference import Classifier
from assay.serving.request_log.uncertain_samples import read_uncertain_samples
from assay.studio.camera import CameraShots
from assay.studio.jobs import Job, JobStatus, JobStore
from assay.studio.label_edits import ADDED_FOLDER, SERVER_FOLDER
from assay.studio.photos import Photo
from assay.studio.project import STATE_FOLDER, Project
from assay.studio.runs import RUNS_FOLDER, RunStore
from assay.studio.thumbnails import ThumbnailCache

UNCERTAIN_FOLDER: Final = f"{STATE_FOLDER}/uncertain"
"""Folder of the photos that the server was unsure of."""
KEYS_FOLDER: Final = "keys"
"""Folder of the API keys, in the hidden folder of the project."""

_MAX_CHECKED: Final = 8
_RUNS_ALREADY: Final = {
    "check": "A check is already running: wait for it, or stop it",
    "compare": "A comparison is already running: wait for it",
    "export": "An export is already running: wait for it",
    "serve": "A server is already running: stop it first",
    "train": "A training is already running: wait for it, or stop it",
    "watch": "A rule is already running: stop it first",
}
"""Kinds of jobs of which only one runs at a time, with what is said about a second one."""


class RunsAlreadyError(UsageError):
    """A job of a kind of which only one runs at a time was to be started again."""


class Studio:
    """A project and everything that its pages need.

    Attributes:
        explaining: held while a heat map is computed.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.key = hashlib.sha256(os.fsencode(project.folder)).hexdigest()[:12]
        """Of the project: pages send it, so that those of another project are refused."""
        self.camera = CameraShots(project.folder / ADDED_FOLDER)
        self.jobs = JobStore(project.state_folder / "jobs", project.folder)
        self.jobs.listeners.append(self._on_job_end)
        self.runs = RunStore(project.folder / RUNS_FOLDER)
        self.thumbnails = ThumbnailCache(project.state_folder / "thumbnails")
        self.changes = Changes()
        project.listeners.append(self.changes.notify)
        self.jobs_revision = 0
        self._classifier: tuple[Path, int, Classifier] | None = None
        self._classifier_lock = threading.Lock()
        self.explaining = asyncio.Lock()
        self._starting = asyncio.Lock()
        self._prepare_thumbnails()

    def close(self) -> None:
        """Stop threads and streams; jobs go on."""
        self.changes.close()
        self.thumbnails.close()

    async def refresh_jobs(self) -> None:
        """Read the files of running jobs, and tell the pages if one has changed."""
        if await asyncio.to_thread(self.jobs.refresh):
            self.note_job_change()

    def note_job_change(self) -> None:
        """Tell the pages that a job has changed."""
        self.jobs_revision += 1
        self.changes.notify()

    def busy(self, kind: str) -> str | None:
        """Return why no other job of this kind can be started now; None if one can, or if several may run."""
        return _RUNS_ALREADY.get(kind) if self.jobs.active(kind) is not None else None

    @asynccontextmanager
    async def only_one(self, kind: str) -> AsyncIterator[None]:
        """Start a job of this kind in the block: of several requests at once only one starts.

        Raises:
            RunsAlreadyError: one runs already.
        """
        async with self._starting:
            if (reason := self.busy(kind)) is not None:
                raise RunsAlreadyError(reason)
            yield

    def start(self, kind: str, arguments: Sequence[str], **details: object) -> Job:
        """Start a command, see `JobStore.start`, and tell the pages."""
        job = self.jobs.start(kind, arguments, **details)
        self.note_job_change()
        return job

    def rescan(self) -> int:
        """Look for new photos, and for labels of other programs; return the number of new photos."""
        self.project.refresh()
        found = self.project.rescan()
        if found:
            self._prepare_thumbnails()
        return found

    def thumbnail_key(self, photo: Photo) -> str:
        """Return the key of a photo's thumbnail."""
        return f"{photo.id}{photo.version}"

    def classifier(self, run: str) -> Classifier:
        """Return the classifier of a run; the last one stays loaded.

        Raises:
            AssayError: there is none, or it cannot be loaded.
        """
        path = self.runs.bundle(run)
        with self._classifier_lock:
            changed = path.stat().st_mtime_ns
            if self._classifier is None or self._classifier[:2] != (path, changed):
                self._classifier = None  # frees its memory first
                self._classifier = path, changed, Classifier.load(path)
            return self._classifier[2]

    def training_problem(self) -> str | None:
        """Return why nothing can be trained, or None."""
        self.project.refresh()
        counts = self.project.counts()
        used = [name for name, count in counts.classes.items() if count]
        if not counts.total:
            return "Add photos first."
        if len(used) < 2:
            return "Label photos of at least two classes first."
        return None

    def check_problem(self) -> str | None:
        """Return why nothing can be checked, or None."""
        self.project.refresh()
        counts = self.project.counts()
        if not counts.total:
            return "Add photos first."
        return None if any(counts.classes.values()) else "Label photos first."

    def checked_photos(self) -> list[str]:
        """Return the names of some labelled photos, for the comparison of an export."""
        names = [photo.name for photo in self.project.photos.values() if photo.training_label is not None]
        return _spread(names)

    def example_photos(self, run: str) -> list[str]:
        """Return the names of some photos for the page of the server: those that a run was evaluated on, if it was."""
        report = None
        with suppress(AssayError):  # a report that is damaged does not keep the classifier from being served
            report = self.runs.report(run)
        known = self.project.by_name()
        names = [] if report is None else [name for name in report["photos"]["ids"] if name in known]
        return _spread(names) or self.checked_photos()

    def uncertain_count(self) -> int:
        """Return how many photos the server kept that are not in the project yet."""
        return len(self._new_uncertain())

    def import_uncertain(self) -> int:
        """Copy the photos that the server was unsure of into the project, without labels; return their number."""
        new = self._new_uncertain()
        target = self.project.folder / ADDED_FOLDER / SERVER_FOLDER
        target.mkdir(parents=True, exist_ok=True)
        for path in new:
            shutil.copyfile(path, target / path.name)
        self.rescan()
        return len(new)

    def _new_uncertain(self) -> list[Path]:
        folder = self.project.folder / UNCERTAIN_FOLDER
        target = self.project.folder / ADDED_FOLDER / SERVER_FOLDER
        try:
            rows = read_uncertain_samples(folder)
        except (OSError, KeyError, ValueError):
            return []
        return [folder / row.path for row in rows if not (target / row.path).exists()]

    def _on_job_end(self, job: Job) -> None:
        if job.kind == "collect" and job.status is not JobStatus.failed:
            with suppress(AssayError):
                self.rescan()
                self._label_frames(job)

    def _label_frames(self, job: Job) -> None:
        """Label the frames of a video with the class that was chosen for them."""
        label, folder = job.details.get("label"), str(job.details.get("folder", ""))
        if not isinstance(label, str) or not label or not folder:
            return
        prefix = f"{folder}/"
        ids = [
            photo.id for photo in self.project.photos.values() if photo.label is None and photo.name.startswith(prefix)
        ]
        with suppress(UsageError):
            self.project.label(ids, label, self.project.revision)

    def _prepare_thumbnails(self) -> None:
        self.thumbnails.prepare(
            [(self.project.path(photo), self.thumbnail_key(photo)) for photo in self.project.photos.values()]
        )


def _spread(names: Sequence[str]) -> list[str]:
    """Return a few names at even distances, without those that a command line would take for something else."""
    plain = [name for name in names if not name.startswith("-") and not set(name) & set("*?[")]
    return plain[:: max(1, len(plain) // _MAX_CHECKED)][:_MAX_CHECKED]


class Changes:
    """Wakes the pages that wait for news, from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()
        self.closed = False

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the event loop of the pages."""
        self._loop = loop

    def notify(self) -> None:
        """Wake all pages."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        self.notify()

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def stream(self, interval: float) -> AsyncIterator[None]:
        """Yield at once, and after every change or `interval` seconds without one."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            while not self.closed:
                yield
                with suppress(TimeoutError):
                    async with asyncio.timeout(interval):
                        await event.wait()
                event.clear()
        finally:
            self._waiting.discard(event)
