"""Measure engine settings while the server is idle, and switch models to those that are fastest."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from assay.core.errors import AssayError
from assay.core.files import cache_folder
from assay.core.locks import open_locked
from assay.serving.engine_measurement import EngineMeasurementJob, parse_output
from assay.serving.model_registry import ModelRegistry, ServedModel
from assay.serving.settings import ModelSettings

_LOG = logging.getLogger("assay.serving")
_POLL_INTERVAL = 0.5
_IDLE_SECONDS = 2.0
"""Seconds without a request after which measuring starts or continues."""
_TIMEOUT = 900.0
"""Seconds after which a measurement is abandoned; without interruption it takes 10 to 20."""


class EngineTuner:
    """Measures models that run by rule, one at a time, in a process of low priority; use it from one event loop.

    The process is stopped as soon as a request arrives, and continued when the server has been idle for some seconds.
    Of all workers and servers that share a cache folder, one measures at a time; the others use its result. A failed
    measurement is logged and not repeated, and the model keeps the settings of the rule.

    Args:
        in_progress: number of images that are processed now.
    """

    def __init__(self, models: ModelRegistry, in_progress: Callable[[], int]) -> None:
        self._models, self._in_progress = models, in_progress
        self._last_request = time.monotonic()
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._failed: set[str] = set()

    def on_request(self) -> None:
        """Stop measuring until the server is idle again; call it when a request begins."""
        self._last_request = time.monotonic()
        if self._process is not None and not self._stopped:
            self._process.send_signal(signal.SIGSTOP)
            self._stopped = True

    async def run(self) -> None:
        """Tune models until cancelled; also those that are loaded later."""
        while True:
            await asyncio.sleep(_POLL_INTERVAL)
            for model in list(self._models):
                if model.classifier.setup_source == "rule" and model.info.version not in self._failed:
                    try:
                        await self._tune(model)
                    except (AssayError, OSError, ValueError) as error:
                        self._failed.add(model.info.version)
                        _LOG.warning("%s: the engine settings were not measured: %s", model.name, error)

    async def _tune(self, model: ServedModel) -> None:
        if model.loader.measurement("server") is None:
            if not self._idle():
                return
            # A lock file for all models: two measurements at a time would disturb each other.
            folder = cache_folder() / "engines"
            folder.mkdir(parents=True, exist_ok=True)
            lock = open_locked(folder / "measuring.lock")
            if lock is None:
                return
            try:
                if model.loader.measurement("server") is None:
                    await self._measure(model)
            finally:
                os.close(lock)
        tuned = await self._models.apply_measurement(model)
        if tuned.classifier.setup_source == "rule":
            raise AssayError("the model cannot be run with the measured settings")
        _LOG.info("%s: %s, as measured; before: %s", tuned.name, tuned.setup, model.setup)

    def _idle(self) -> bool:
        return not self._in_progress() and time.monotonic() - self._last_request > _IDLE_SECONDS

    async def _measure(self, model: ServedModel) -> None:
        """Measure in another process, which saves the result.

        Raises:
            AssayError: the measurement failed.
        """
        loader = model.loader
        job = EngineMeasurementJob(
            str(loader.bundle.path), "server", loader.engine, loader.precision, loader.threads, background=True
        )
        # In a process group of its own: Ctrl-C does not reach it, and if this process is killed while it is stopped,
        # the kernel ends it (POSIX: a group that becomes orphaned with a stopped member receives SIGHUP and SIGCONT).
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own module; starting it takes milliseconds
            job.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            process_group=0,
        )
        self._process, self._stopped = process, False
        output = asyncio.ensure_future(asyncio.to_thread(_read_output, process))
        deadline = time.monotonic() + _TIMEOUT
        try:
            # `assay bench` may save a result as well.
            while loader.measurement("server") is None:
                if output.done():
                    parse_output(output.result())
                    raise AssayError("the result cannot be saved in the cache folder")
                if time.monotonic() > deadline:
                    raise AssayError(f"not finished after {_TIMEOUT:.0f} s")
                await asyncio.wait([output], timeout=_POLL_INTERVAL)
                if self._stopped and self._idle():
                    process.send_signal(signal.SIGCONT)
                    self._stopped = False
        finally:
            self._process = None
            process.kill()
            process.wait()


def can_tune(settings: ModelSettings) -> bool:
    """Return whether models are measured: not if it is switched off, nor on Windows, where processes do not stop."""
    return settings.measure and sys.platform != "win32"


def _read_output(process: subprocess.Popen[str]) -> str:
    return "" if process.stdout is None else process.stdout.read()
