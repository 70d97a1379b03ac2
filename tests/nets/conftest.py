"""Weights and images computed from integers, the same on every machine; a publisher on this machine."""

import json
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor


def uniform(name: str, count: int) -> np.ndarray:
    """float64 [count] within -1 ... 1, decided by the name alone (splitmix64: Steele et al., 2014)."""
    with np.errstate(over="ignore"):
        z = (np.arange(count, dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()) << 20)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) / 2**52 - 1


def seeded_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights for every name of a torch state dict; norms stay near the identity, activations near one."""
    weights = {}
    for name, shape in shapes.items():
        values = uniform(name, int(np.prod(shape, dtype=int))).reshape(shape)
        if name.endswith("num_batches_tracked"):
            values = np.zeros(shape)
        elif name.endswith("running_var"):
            values = 1 + 0.5 * np.abs(values)
        elif len(shape) > 1:
            values *= np.sqrt(6 / np.prod(shape[1:]))  # He et al., 2015: signals keep their size
        elif name.endswith("weight"):
            values = 1 + 0.3 * values
        else:
            values *= 0.2
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def seeded_images(count: int, size: int) -> Tensor:
    """uint8 [count, size, size, 3]: coloured waves with some noise."""
    y, x = np.mgrid[0:size, 0:size] / size
    images = []
    for index in range(count):
        waves = [np.sin(2 * np.pi * ((index + 1) * x * (c + 1) + y * (3 - c)) + c) for c in range(3)]
        noise = uniform(f"image{index}", size * size * 3).reshape(size, size, 3)
        images.append(np.round(127.5 + 90 * np.stack(waves, axis=-1) + 30 * noise))
    return torch.from_numpy(np.stack(images).astype(np.uint8))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Threads that wait for a busy processor cost more than they bring to networks this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(name="seeded_weights", scope="session")
def _seeded_weights() -> Callable[[Mapping[str, tuple[int, ...]]], dict[str, Tensor]]:
    return seeded_weights


@pytest.fixture(name="seeded_images", scope="session")
def _seeded_images() -> Callable[[int, int], Tensor]:
    return seeded_images


@pytest.fixture(scope="session")
def references() -> dict[str, Any]:
    """What other people's networks answer; see fixtures/make_references.py."""
    path = Path(__file__).parent / "fixtures" / "references.json"
    answers: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return answers


class Publisher:
    """A server on this machine that can break connections."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.break_after: list[int] = []
        """For each of the next requests, how many bytes are sent before the connection is closed."""
        self.ranges: list[str | None] = []
        """The Range header of every request so far."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.ranges.append(self.headers["Range"])
                data = publisher.files.get(self.path.strip("/"))
                if data is None:
                    self.send_error(404)
                    return
                start = 0
                if self.headers["Range"]:
                    start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                else:
                    self.send_response(200)
                self.send_header("ETag", f'"{zlib.crc32(data)}"')
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                limit = publisher.break_after.pop(0) if publisher.break_after else len(data)
                self.wfile.write(data[start : start + limit])

            def log_message(self, *args: object) -> None:
                del args

        return Handler


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    server = Publisher()
    yield server
    server.close()
