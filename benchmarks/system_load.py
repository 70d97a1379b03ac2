"""Load for a site: locust in an open loop, a client that counts what a limit lets through, and CPU limits."""

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import secrets
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from processes import BenchmarkError
from system_site import DEPLOY, Site

_BOUNDARY = "assay-system-test"
_THREADS = 16


@dataclass(frozen=True)
class Row:
    """What became of the requests of one client; times in milliseconds, from the arrival to the response."""

    requests: int = 0
    failures: int = 0
    mean: float = float("nan")
    p95: float = float("nan")
    longest: float = float("nan")

    @classmethod
    def parse(cls, row: Mapping[str, object]) -> "Row":
        """Read a row of locust's statistics."""
        count, times = int(str(row["num_requests"])), row["response_times"]
        if not count or not isinstance(times, dict):
            return cls()
        left, p95 = 0.95 * count, 0.0
        for p95, number in sorted((float(key), int(value)) for key, value in times.items()):  # noqa: B007 - used after
            left -= number
            if left <= 0:
                break
        total = float(str(row["total_response_time"]))
        return cls(count, int(str(row["num_failures"])), total / count, p95, float(str(row["max_response_time"])))


class Locust:
    """A run of `deploy/locustfile.py` against both balancers; `rates` are requests per second by client."""

    def __init__(self, site: Site, photos: Path, rates: Mapping[str, float], seconds: float, *, cached: bool) -> None:
        """Start it; `cached`: photos repeat, so that results come from the cache."""
        clients = {name: {"key": site.keys[name], "rate": rate} for name, rate in rates.items()}
        environment = {**os.environ, "ASSAY_PHOTOS": str(photos), "ASSAY_CLIENTS": json.dumps(clients)}
        environment |= {} if cached else {"ASSAY_UNCACHED": "1"}
        command = [sys.executable, "-m", "locust", "-f", str(DEPLOY / "locustfile.py")]
        command += ["--host", ",".join(site.addresses), "--headless", "--users", str(len(rates)), "--spawn-rate", "100"]
        command += ["--run-time", f"{seconds:.0f}s", "--stop-timeout", "60", "--json", "--loglevel", "ERROR"]
        self._log = (site.folder / "locust.log").open("ab")
        self._process = subprocess.Popen(
            command, env=environment, cwd=site.folder, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def rows(self) -> dict[str, Row]:
        """Wait for the end; return the rows by name.

        Raises:
            BenchmarkError: locust printed no statistics.
        """
        text, _ = self._process.communicate()
        self._log.close()
        try:
            return {row["name"]: Row.parse(row) for row in json.loads(text)}
        except ValueError:
            raise BenchmarkError("locust printed no statistics; see locust.log") from None

    @property
    def running(self) -> bool:
        """Whether it still sends requests."""
        return self._process.poll() is None


def _body(photo: bytes) -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="photo"\r\n\r\n'
    return head.encode() + photo + f"\r\n--{_BOUNDARY}--\r\n".encode()


class Sender(threading.local):
    """Sends photos to this machine, each thread on connections of its own, which are kept."""

    def __init__(self) -> None:
        self._connections: dict[int, http.client.HTTPConnection] = {}

    def post(self, port: int, photo: bytes, headers: Mapping[str, str], *, tls: bool) -> int:
        """Send a photo to a port; return the status, 0 if none came."""
        sent = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}", **headers}
        for connection in (self._connections.pop(port, None), _connection(port, tls=tls)):
            if connection is None:
                continue
            try:
                connection.request("POST", "/classify", _body(photo), sent)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()  # an idle connection may have been closed: once more on a new one
            else:
                self._connections[port] = connection
                return answer.status
        return 0


def _connection(port: int, *, tls: bool) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)


def count_accepted(site: Site, client: str, rate: float, seconds: float, photo: bytes) -> tuple[Counter[int], float]:
    """Send requests of a client at a steady rate; return the statuses, and the seconds from first to last request.

    They take turns at both balancers.
    """
    headers, gold = ({"Authorization": f"Bearer {site.keys[name]}"} for name in (client, "gold"))
    ports, sender, barrier = [balancer.port for balancer in site.balancers], Sender(), threading.Barrier(_THREADS)

    def connect() -> None:
        # A request that waits for a connection arrives late, and a full bucket gains nothing meanwhile.
        barrier.wait(60)
        for port in ports:
            sender.post(port, photo, gold, tls=True)

    def send(port: int) -> tuple[int, float]:
        start = time.perf_counter()
        return sender.post(port, photo, headers, tls=True), start

    with ThreadPoolExecutor(_THREADS) as pool:
        for item in [pool.submit(connect) for _ in range(_THREADS)]:
            item.result()
        begin = time.perf_counter()
        sent = []
        for number in range(int(rate * seconds)):
            time.sleep(max(begin + number / rate - time.perf_counter(), 0))
            sent.append(pool.submit(send, ports[number % len(ports)]))
        found = [item.result() for item in sent]
    # On a busy machine requests wait for a thread: the last is sent later than planned.
    return Counter(status for status, _ in found), max(start for _, start in found) - min(start for _, start in found)


def signed_headers(token: str, photo: bytes) -> dict[str, str]:
    """Return the headers that sign a request, as docs/how-to/keys.md describes."""
    key, _, secret = token.partition(".")
    now, nonce, digest = str(int(time.time())), secrets.token_urlsafe(24), hashlib.sha256(photo).hexdigest()
    message = f"POST\n/classify\n{now}\n{nonce}\n{digest}"
    return {
        "X-Assay-Key": key,
        "X-Assay-Timestamp": now,
        "X-Assay-Nonce": nonce,
        "X-Assay-Content-SHA256": digest,
        "X-Assay-Signature": hmac.digest(secret.encode(), message.encode(), "sha256").hex(),
    }


def replay(site: Site, photo: bytes, count: int) -> tuple[Counter[int], Counter[int]]:
    """Send signed requests to all workers and both balancers at once.

    Returns:
        How many requests were accepted how often (all once, if no replay is accepted), and all statuses.
    """
    targets = [(worker.port, False) for worker in site.workers] + [(item.port, True) for item in site.balancers]
    accepted, statuses, sender = Counter[int](), Counter[int](), Sender()
    with ThreadPoolExecutor(len(targets)) as pool:
        barrier = threading.Barrier(len(targets))

        def send(target: tuple[int, bool], headers: Mapping[str, str]) -> int:
            barrier.wait(60)
            return sender.post(target[0], photo, headers, tls=target[1])

        for _ in range(count):
            headers = signed_headers(site.keys["gold"], photo)
            found = list(pool.map(send, targets, [headers] * len(targets)))
            accepted[found.count(200)] += 1
            statuses.update(found)
    return accepted, statuses


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    return [int(part) for part in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its children have used."""
    total = 0
    for member in (pid, *children(pid)):
        fields = Path(f"/proc/{member}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


_GROUPS = (
    # Parent folder of the groups, and the file and text that limit a group to a share of one core: version 1, 2.
    (Path("/sys/fs/cgroup/cpu"), "cpu.cfs_quota_us", "{quota}"),
    (Path("/sys/fs/cgroup"), "cpu.max", "{quota} 100000"),
)
_PERIOD = 100_000


@contextlib.contextmanager
def cpu_limits(pids: Sequence[int], share: float) -> Iterator[None]:
    """Limit each process, with its children, to a share of one core, by control groups.

    Raises:
        BenchmarkError: this user may not create control groups.
    """
    made: list[Path] = []
    try:
        for pid in pids:
            for parent, name, text in _GROUPS:
                if not (parent / "cgroup.procs").exists():
                    continue
                group = parent / f"assay-system-{pid}"
                with contextlib.suppress(OSError):
                    group.mkdir()
                    made.append(group)
                    (group / name).write_text(text.format(quota=int(share * _PERIOD)), encoding="ascii")
                    for member in (pid, *children(pid)):
                        (group / "cgroup.procs").write_text(str(member), encoding="ascii")
                    break
            else:
                raise BenchmarkError("CPU limits need control groups, which this user may not create")
        yield
    finally:
        for group in made:
            with contextlib.suppress(OSError):
                for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
                    (group.parent / "cgroup.procs").write_text(pid, encoding="ascii")
                group.rmdir()
