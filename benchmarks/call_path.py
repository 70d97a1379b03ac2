"""Which functions of Assay an image passes through on the server, from the request to the response.

Run as `python benchmarks/call_path.py MODEL`. A function counts if it is on the stack, or awaited by one that
is, at any of the points where Assay hands the request on: the check of its origin, the arrival of the body, the
parser of the form, the start of work in another thread, the decoder, the model, and the response. What has
returned by then (validation, metrics, caches) does not count, nor does the task that waits for the client to
disconnect. The request is one without cache hit, on a server without API keys.
"""

import asyncio
import inspect
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import CodeType
from typing import Any
from unittest.mock import patch

from PIL import Image
from python_multipart.multipart import MultipartParser
from starlette.types import ASGIApp, Message

import assay
from assay.image import Preprocess
from assay.inference import Classifier
from assay.serving.app import create_app
from assay.serving.auth.origin_policy import OriginPolicy
from assay.serving.cache.result_cache import make_cache
from assay.serving.components import Components
from assay.serving.compute_pool import ComputePool
from assay.serving.model_registry import ModelRegistry
from assay.serving.service import Service
from assay.serving.settings import CacheSettings, ModelSource, ServeSettings
from assay.serving.telemetry import NullTelemetry

_PACKAGE = Path(assay.__file__).parent
_IGNORED = {"_wait_for_disconnect"}

Step = tuple[str, str]
"""File and qualified name of a function."""


class _Recorder:
    """Records the functions that are active whenever a checkpoint is passed."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.recording = False
        self.loop: asyncio.AbstractEventLoop | None = None

    def record(self) -> None:
        """Record the functions on this thread's stack, and those that the tasks of the event loop are in."""
        if not self.recording or self.loop is None:
            return
        for task in asyncio.all_tasks(self.loop):
            for code in _awaited(task.get_coro()):
                self._add(code)
        frame, codes = inspect.currentframe(), []
        while frame is not None:
            codes.append(frame.f_code)
            frame = frame.f_back
        for code in reversed(codes):
            self._add(code)

    def _add(self, code: CodeType) -> None:
        path = Path(code.co_filename)
        if path.is_relative_to(_PACKAGE) and code.co_name not in _IGNORED:
            step = (path.relative_to(_PACKAGE).as_posix(), code.co_qualname)
            if step not in self.steps:
                self.steps.append(step)

    def checkpoint(self, owner: Any, name: str) -> Any:
        """Return a patch of a function that records before it is called."""
        original = getattr(owner, name)

        def recording(*arguments: Any, **options: Any) -> Any:
            self.record()
            return original(*arguments, **options)

        return patch.object(owner, name, recording)


def _awaited(awaiting: Any) -> Iterator[CodeType]:
    """Yield the functions of a chain of coroutines, the outermost first."""
    while awaiting is not None:
        for prefix, following in (("cr", "cr_await"), ("ag", "ag_await"), ("gi", "gi_yieldfrom")):
            if hasattr(awaiting, f"{prefix}_code"):
                yield getattr(awaiting, f"{prefix}_code")
                awaiting = getattr(awaiting, following)
                break
        else:
            return


def _form() -> bytes:
    """Return a body with an image that no other body holds."""
    stream = io.BytesIO()
    Image.effect_noise((64, 48), 60).convert("RGB").save(stream, "JPEG")
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    return head + stream.getvalue() + b"\r\n--b--\r\n"


async def _classify(app: ASGIApp, on_receive: Callable[[], None], on_send: Callable[[], None]) -> int:
    """Send a request to an application; return the status of its response."""
    body, messages = _form(), []
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        on_receive()
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        on_send()
        messages.append(message)

    headers = [
        (b"host", b"localhost"),
        (b"content-type", b"multipart/form-data; boundary=b"),
        (b"content-length", str(len(body)).encode()),
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/classify",
        "raw_path": b"/classify",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return int(messages[0]["status"])


async def _record(model: Path, recorder: _Recorder) -> None:
    settings = ServeSettings.read({"auth": {"required": False}})
    telemetry = NullTelemetry()
    models = ModelRegistry(
        [ModelSource(model)],
        settings=settings.models,
        pool=ComputePool(1),
        batching=settings.batching,
        uploads=settings.uploads,
        telemetry=telemetry,
    )
    components = Components(telemetry=telemetry, cache=make_cache(CacheSettings(), telemetry))
    service = Service(settings, models, components)
    app = create_app(service)
    loop = asyncio.get_running_loop()
    recorder.loop = loop
    points = [
        (OriginPolicy, "check"),
        (MultipartParser, "write"),
        (Preprocess, "read"),
        (Classifier, "predict_pixels"),
        (loop, "run_in_executor"),
    ]
    try:
        await _classify(app, recorder.record, recorder.record)  # the first request loads what is loaded late
        with ExitStack() as patches:
            for owner, name in points:
                patches.enter_context(recorder.checkpoint(owner, name))
            recorder.recording = True
            status = await _classify(app, recorder.record, recorder.record)
            recorder.recording = False
        if status != 200:
            raise RuntimeError(f"the server responded with {status}")
    finally:
        await service.close()


def call_path(model: Path) -> list[Step]:
    """Return the functions that a request passes through, in the order in which they were seen."""
    recorder = _Recorder()
    asyncio.run(_record(model, recorder))
    return recorder.steps


def main() -> None:
    """Print the functions, and how many there are in how many files."""
    steps = call_path(Path(sys.argv[1]))
    for file, function in steps:
        print(f"{file:<36}{function}")
    print(f"{len(steps)} functions in {len({file for file, _ in steps})} files")


if __name__ == "__main__":
    main()
