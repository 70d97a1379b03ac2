"""Real servers over real sockets, and classifiers whose outputs can be computed by hand."""

import io
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from colour_model import colour_model
from PIL import Image
from safetensors.numpy import save
from services import find_program, unavailable
from waiting import wait_until

from assay.bundle import BundleInfo, pack_bundle
from assay.recipe import PreprocessSpec, ServeSpec

_SIDE = 16
_START_SECONDS = 60.0
_ADDRESS = re.compile(r"https?://[^ ]+")
_CHROMIUM = os.environ.get("ASSAY_CHROMIUM", "chromium")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name that resolves to this machine, as with DNS rebinding.
    "--host-resolver-rules=MAP rebound.example 127.0.0.1",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Pack a bundle that classifies red, green and blue, with an adjustable inference time."""

    def make(
        path: Path | None = None,
        *,
        convolutions: int = 0,
        temperature: float = 1.0,
        serve: ServeSpec | None = None,
        **changes: object,
    ) -> Path:
        spec = PreprocessSpec(size=_SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        info = BundleInfo(
            name="colours",
            classes=("red", "green", "blue"),
            preprocess=spec,
            serve=serve or ServeSpec(),
            temperature=temperature,
        )
        head = {"head.fc.weight": 10 * np.eye(3, dtype=np.float32), "head.fc.bias": np.zeros(3, np.float32)}
        path = path or tmp_path_factory.mktemp("bundle") / "colours.assay"
        model = colour_model(side=_SIDE, convolutions=convolutions).SerializeToString()
        pack_bundle(path, info.model_copy(update=changes), {"model.onnx": model, "weights.safetensors": save(head)})
        return path

    return make


@dataclass(frozen=True)
class Running:
    """A server process."""

    process: subprocess.Popen[str]
    url: str
    message: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **options: object) -> httpx.Client:
        """Connect without proxies or environment."""
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, **options)

    def workers(self) -> list[int]:
        """Process ids of the children."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in task.read_text(encoding="ascii").split()]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


Serve = Callable[..., Running]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start `assay serve ARGUMENTS` at a free port; `settings` are ASSAY_SERVE_ variables."""
    with ExitStack() as stack:

        def start(*arguments: object, **settings: object) -> Running:
            folder = tmp_path_factory.mktemp("serve")
            variables = {f"ASSAY_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
            own = {
                "ASSAY_STATE": str(folder),
                "ASSAY_KEYS": str(folder / "keys"),
                # Standard output is not read any more: log lines would fill the pipe.
                "ASSAY_SERVE_TELEMETRY__LOG_DIR": str(folder / "logs"),
                # Measuring takes processor time from other tests.
                "ASSAY_SERVE_MODELS__MEASURE": "false",
            }
            command = [sys.executable, "-m", "assay", "serve", "--port", "0", *map(str, arguments)]
            log = stack.enter_context((folder / "log").open("w+", encoding="utf-8"))
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **own, **variables}
            )
            stack.callback(_end, process)
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
            message = process.stdout.readline() if ready else ""
            found = _ADDRESS.search(message)
            if found is None:
                process.kill()
                log.seek(0)
                pytest.fail(f"the server did not start: {log.read()}")
            return Running(process, found.group(), message)

        yield start


@pytest.fixture(scope="module")
def serve_colours(serve: Serve, make_bundle: Callable[..., Path]) -> Serve:
    """Serve a new bundle without a request log."""

    def start(*arguments: object, **settings: object) -> Running:
        return serve(make_bundle(), "--request-log", "none", *arguments, **settings)

    return start


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture(scope="session")
def painted() -> Callable[..., bytes]:
    """Encode a photo of one colour; another `number` gives other bytes."""

    def paint(
        colour: tuple[int, int, int] = (230, 20, 30),
        size: tuple[int, int] = (64, 48),
        kind: str = "JPEG",
        number: int = 0,
    ) -> bytes:
        image = Image.new("RGB", size, colour)
        image.putpixel((0, 0), (number % 256, number // 256 % 256, 0))
        stream = io.BytesIO()
        image.save(stream, kind)
        return stream.getvalue()

    return paint


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, with a camera that shows a moving green picture."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 (only where it is installed)
    except ImportError:
        unavailable('playwright is not installed: pip install "assay[dev]"')
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=find_program(_CHROMIUM), args=_FLAGS)
        yield started
        started.close()
