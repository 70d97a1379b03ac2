"""Redis and MongoDB killed and restarted, and a full disk, while a server runs: no classification fails."""

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pymongo
import pytest
import redis
from waiting import wait_until

from assay.serving.auth.keys import KeyManager

Answers = list[tuple[int, str, float]]
"""Status, request id and seconds of each answer."""


class Load:
    """Clients that send photos, each twice, without a pause."""

    def __init__(self, server: Any, painted: Callable[..., bytes], clients: int = 3) -> None:
        self.answers: Answers = []
        self._server, self._painted, self._end = server, painted, Event()
        self._pool = ThreadPoolExecutor(clients)
        self._running = [self._pool.submit(self._run, number) for number in range(clients)]

    def _run(self, worker: int) -> None:
        with self._server.client() as client:
            number = 0
            while not self._end.is_set():
                photo = self._painted(number=worker * 10_000 + number // 2)
                start = time.perf_counter()
                answer = client.post("/classify", files={"image": ("photo.jpg", photo, "image/jpeg")})
                took = time.perf_counter() - start
                self.answers.append((answer.status_code, answer.headers["x-request-id"], took))
                number += 1

    def more(self, count: int) -> None:
        """Return when so many more photos have been answered."""
        enough = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= enough)

    def stop(self) -> Answers:
        """End the clients; an error of theirs is raised here."""
        self._end.set()
        for item in self._running:
            item.result(30)
        self._pool.shutdown()
        return self.answers


def recorded(url: str) -> list[str]:
    with pymongo.MongoClient(url) as client:  # type: pymongo.MongoClient[dict[str, Any]]
        return sorted(item["request_id"] for item in client.get_default_database()["request_logs"].find())


def all_recorded(url: str, answers: Answers) -> None:
    """Wait until the request log contains every response once."""
    expected = sorted(request for _, request, _ in answers)
    wait_until(lambda: len(recorded(url)) >= len(expected))
    assert recorded(url) == expected


@pytest.fixture
def log_url(mongo_server: Any) -> str:
    """Address of an empty request log."""
    return f"{mongo_server.url}/t{uuid4().hex}"


@pytest.fixture
def start(serve: Any, make_bundle: Any, log_url: str) -> Callable[..., Any]:
    """Start a server with a request log; its access log is not used here."""
    bundle = make_bundle()
    return lambda *options, **more: serve(bundle, "--request-log", log_url, "--log-level", "warning", *options, **more)


def test_redis_killed_and_restarted_under_load(start: Any, painted: Any, redis_server: Any, log_url: str):
    server = start("--redis", redis_server.url, cache__entries=0)
    load = Load(server, painted)
    load.more(100)
    redis_server.kill()
    load.more(200)
    redis_server.start()
    load.more(200)
    answers = load.stop()
    assert {status for status, _, _ in answers} == {200}
    all_recorded(log_url, answers)
    with server.client() as client:
        photo = {"image": ("photo.jpg", painted(number=60_000), "image/jpeg")}
        wait_until(lambda: client.post("/classify?detail=1", files=photo).json().get("cached", False), 20)
    assert server.stop() == 0


def test_mongodb_killed_and_restarted_under_load(start: Any, painted: Any, mongo_server: Any, log_url: str):
    server = start()
    load = Load(server, painted)
    load.more(100)
    mongo_server.kill()
    load.more(200)
    mongo_server.start()
    load.more(200)
    answers = load.stop()
    assert {status for status, _, _ in answers} == {200}
    all_recorded(log_url, answers)
    assert server.stop() == 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_full_spool_disk_during_a_database_outage(
    start: Any, painted: Any, mongo_server: Any, log_url: str, tiny_disk: Path
):
    mongo_server.kill()
    server = start(request_log__spool_dir=tiny_disk)
    load = Load(server, painted)
    load.more(400)
    # Records follow their answers, on a busy machine by a while.
    wait_until(lambda: sum(path.stat().st_size for path in tiny_disk.rglob("*.jsonl")) > 40_000)
    mongo_server.start()
    answers = load.stop()
    assert {status for status, _, _ in answers} == {200}
    all_recorded(log_url, answers)
    assert server.stop() == 0


def test_spooled_records_are_written_by_the_next_server(
    start: Any, painted: Any, mongo_server: Any, log_url: str, tmp_path: Path
):
    mongo_server.kill()
    server = start(request_log__spool_dir=tmp_path)
    load = Load(server, painted)
    load.more(30)
    answers = load.stop()
    assert server.stop() == 0
    mongo_server.start()
    again = start(request_log__spool_dir=tmp_path)
    all_recorded(log_url, answers)
    assert again.stop() == 0


def test_corrupt_redis_values_do_not_affect_responses(
    redis_server: Any, serve, make_bundle: Callable[..., Path], painted: Callable[..., bytes], tmp_path: Path
):
    manager = KeyManager(tmp_path / "keys")
    key = manager.token(manager.create("a client", "gold", ("classify", "metrics")))
    server = serve(
        make_bundle(),
        "--keys",
        tmp_path / "keys",
        "--redis",
        redis_server.url,
        cache__entries=0,
        cache__timeout=1,
        limits__redis_timeout=1,
        lifecycle__drain_delay=0,
    )
    photo = {"image": ("photo.jpg", painted(number=70_000), "image/jpeg")}
    with (
        server.client(headers={"Authorization": f"Bearer {key}"}) as client,
        redis.Redis.from_url(redis_server.url) as store,
    ):
        others = set(store.keys("assay:*"))
        counts = {f"assay:{{{key.partition('.')[0]}}}:{kind}".encode() for kind in ("rate", "open")}

        def names() -> set[bytes]:
            return {*store.keys("assay:*"), *counts} - others

        def wait_for_prediction() -> None:
            """Wait until an answer is stored, which happens after it was sent."""
            for _ in range(10):
                with suppress(AssertionError):
                    return wait_until(lambda: len(names()) == 3, 5)
                # On a busy machine it was given up after a second: that of the next answer is stored.
                client.post("/classify", files=photo)
            return wait_until(lambda: len(names()) == 3)

        right = client.post("/classify", files=photo).json()
        for number in range(4):
            wait_for_prediction()
            for name in names():
                store.unlink(name)
                store.rpush(name, "a") if number % 2 else store.set(name, '{"image": {}}')
            answer = client.post("/classify?detail=1", files=photo)
            assert (answer.status_code, answer.json()["cached"]) == (200, False), answer.text
            assert client.post("/classify", files=photo).json() == right
        figures = client.get("/metrics").text
    assert 'assay_redis_corrupt_values_total{store="cache"} 4.0' in figures
    assert 'assay_redis_corrupt_values_total{store="limits"}' in figures
    assert 'assay_dependency_up{dependency="cache"} 0' not in figures
