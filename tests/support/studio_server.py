"""Run `assay studio` as a process."""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

_START_SECONDS = 90.0
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)")


@dataclass(frozen=True)
class StudioServer:
    """A studio that runs; `address` contains the token."""

    process: "subprocess.Popen[str]"
    address: str
    port: int
    token: str

    @property
    def url(self) -> str:
        """The address without the token."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, *, token: bool = True) -> httpx.Client:
        """Connect without proxies, with the cookie of a browser that has used the address."""
        cookies = {f"assay-studio-{self.port}": self.token} if token else {}
        return httpx.Client(base_url=self.url, cookies=cookies, timeout=60, trust_env=False)


@contextmanager
def studio_server(folder: Path | None, state: Path | None = None, home: Path | None = None) -> Iterator[StudioServer]:
    """Start the studio of a folder, or with None its start page, and end it with the block.

    `state` is the folder of the user's state, `home` the user's home; by default an empty folder and the user's.
    """
    with ExitStack() as stack:
        state = state or Path(stack.enter_context(TemporaryDirectory()))
        changes = {"PYTHONUNBUFFERED": "1", "ASSAY_STATE": str(state)}
        if home is not None:
            changes["HOME"] = str(home)
        yield from _run(folder, state, changes)


def _run(folder: Path | None, state: Path, changes: dict[str, str]) -> Iterator[StudioServer]:
    command = [sys.executable, "-m", "assay", "studio", "--no-browser"]
    if folder is not None:
        command.append(str(folder))
    if not ((folder / ".studio" if folder else state / "studio") / "address.json").exists():
        command += ["--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **changes}, cwd=changes.get("HOME")
    )
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
        # All lines are printed at once.
        found = next(filter(None, map(_ADDRESS.search, process.stdout)), None) if ready else None
        if found is None:
            pytest.fail("the studio did not start")
        yield StudioServer(process, found[0], int(found[1]), found[2])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
