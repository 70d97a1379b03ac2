"""How long whole processes take, as a user would start them: predict one photo, serve, replace workers, show help.

Run as `python benchmarks/startup.py WORK`, with the folder that `prepare.py` made; medians in seconds.
"""

import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from spine import ASSAY, timed

_HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def measure(work: str, repeats: int = 5) -> dict[str, float]:
    """Return seconds by command; `predict cpu` is processor time, which other programs disturb less."""
    model, photos = Path(work) / "whole.assay", Path(work) / "photos"
    photo = min(photos.iterdir())
    # With this setting of containers, every process would compile all modules of Assay anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    before = _processor_seconds()
    predict = timed("predict", model, photo, repeats=repeats)
    processor = (_processor_seconds() - before) / (repeats + 1)
    servers = [_server(model) for _ in range(repeats + 1)][1:]  # the first fills caches
    ready, replaced = zip(*servers, strict=True)
    return {
        "predict": predict,
        "predict cpu": processor,
        "ready": statistics.median(ready),
        "replaced": statistics.median(replaced),
        "help": timed("--help", repeats=repeats),
    }


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _server(model: Path) -> tuple[float, float]:
    """Start a server of two workers and kill both; return the seconds to the first answer of each generation."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    begin = time.perf_counter()
    command = [ASSAY, "serve", str(model), "--port", str(port), "--workers", "2", "--no-auth"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            _wait_for_answer(port)
            ready = time.perf_counter() - begin
            time.sleep(2 * ready)  # until the second worker is ready too
            begin = time.perf_counter()
            for worker in _children(process.pid):
                os.kill(worker, signal.SIGKILL)
            _wait_for_answer(port)
            return ready, time.perf_counter() - begin
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _wait_for_answer(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                client.sendall(_HEALTH)
                if client.recv(1024).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            time.sleep(0.005)
    raise RuntimeError("assay serve does not answer")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def main() -> None:
    """Measure and print."""
    for name, value in measure(sys.argv[1]).items():
        print(f"{name:<12}{value:8.3f} s")


if __name__ == "__main__":
    main()
