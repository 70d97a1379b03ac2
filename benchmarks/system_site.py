"""All services of a deployment on one machine: API workers, two HAProxies, Redis, a MongoDB-wire server, Prometheus.

Every service is a process of its own on a free port of the loopback interface; `Site` starts and ends them all.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from processes import HERE, BenchmarkError

from assay.serving.auth.keys import KeyManager

DEPLOY = HERE.parent / "deploy"
PROGRAMS = ("redis-server", "nx-27017", "haproxy", "prometheus", "openssl")
TIERS = {
    "gold": {"per_minute": 600_000, "burst": 20_000, "max_concurrent": 1024},
    "bronze": {"per_minute": 300, "burst": 20, "max_concurrent": 256},
}
"""Tiers of the test: one without a limit that matters, and one whose limit is measured."""
_START_SECONDS = 120.0


def find(name: str) -> str:
    """Return the path of a program.

    Raises:
        BenchmarkError: it is not installed.
    """
    path = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin")
    if path is None:
        raise BenchmarkError(f"{name} is not installed: make services")
    return path


def free_port() -> int:
    """Return a port that nothing listens at now."""
    with socket.socket() as item:
        item.bind(("127.0.0.1", 0))
        port: int = item.getsockname()[1]
    return port


def wait_for(true: Callable[[], bool], what: str, seconds: float = _START_SECONDS) -> None:
    """Wait until a condition holds.

    Raises:
        BenchmarkError: it does not hold in time; `what` says what was expected.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise BenchmarkError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)


def get(url: str, key: str = "") -> tuple[int, str]:
    """Return status (0: none) and body of a GET request to this machine, without TLS."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except OSError:
        return 0, ""


class Service:
    """A process that can be stopped, killed and started again."""

    def __init__(self, name: str, port: int, command: Sequence[object], log: Path, environment: dict[str, str]) -> None:
        """`log` receives both output streams; `environment` is added to this process's own."""
        self.name, self.port = name, port
        self._command, self._log, self._environment = [str(part) for part in command], log, environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._process is None:
            raise BenchmarkError(f"{self.name} was not started")
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until its port accepts connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                cwd=self._log.parent,
                start_new_session=True,
            )
        wait_for(self._accepts, f"the start of {self.name}")

    def _accepts(self) -> bool:
        self.require_running()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def require_running(self) -> None:
        """Raise `BenchmarkError` with the last line of the log if the process has ended."""
        if self._process is None or self._process.poll() is not None:
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"]
            raise BenchmarkError(f"{self.name} ended: {lines[-1][:300]}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60.0) -> None:
        """End the process and what it started; kill it if it takes longer."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def make_photos(folder: Path, count: int) -> Path:
    """Write random photos of 640 x 480, about 50 kB each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        small.resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{number:02}.jpg", quality=85)
    return folder


class Site:
    """The services; `start` in a `with` block ends them all when the block ends, whatever happens."""

    def __init__(self, folder: Path, bundle: Path, workers: int = 4) -> None:
        """Write keys, certificate and configurations into a folder; nothing is started yet."""
        self.folder, self.bundle = folder, folder / "models" / "model.assay"
        self.bundle.parent.mkdir(parents=True)
        shutil.copyfile(bundle, self.bundle)
        manager = KeyManager(folder / "keys")
        self.keys = {name: manager.token(manager.create(name, name, ("classify",))) for name in TIERS}
        self.keys["metrics"] = manager.token(manager.create("prometheus", "gold", ("metrics",)))
        self.redis = self._service(
            "redis", [find("redis-server"), "--save", "", "--port", "PORT", "--bind", "127.0.0.1"]
        )
        mongo = [find("nx-27017"), "--host", "127.0.0.1", "--data-dir", folder, "--pid-file", folder / "mongo.pid"]
        self.mongo = self._service("mongo", [*mongo, "--log-file", folder / "nx.log", "-p", "PORT"])
        self.workers = [self.make_worker(number) for number in range(workers)]
        self._make_certificate()
        self.balancers = [self.make_balancer(f"haproxy-{number}", self.workers) for number in range(2)]
        self.prometheus = self._make_prometheus()

    @property
    def log_url(self) -> str:
        """Address of the request log."""
        return f"mongodb://127.0.0.1:{self.mongo.port}/assay"

    @property
    def addresses(self) -> list[str]:
        """What clients connect to."""
        return [f"https://127.0.0.1:{balancer.port}" for balancer in self.balancers]

    @contextlib.contextmanager
    def start(self) -> Iterator[None]:
        """Start everything, the stores first."""
        with ExitStack() as stack:
            for service in (self.redis, self.mongo, *self.workers, *self.balancers, self.prometheus):
                stack.callback(service.stop, seconds=15.0)
                service.start()
            for worker in self.workers:
                wait_for(partial(self.is_ready, worker), f"the first /ready of {worker.name}")
            yield

    def is_ready(self, worker: Service) -> bool:
        """Tell whether a worker accepts requests; raise `BenchmarkError` if it has ended."""
        worker.require_running()
        return get(f"http://127.0.0.1:{worker.port}/ready")[0] == 200

    def make_worker(self, number: int, **settings: object) -> Service:
        """Return an `assay serve` process; `settings` are ASSAY_SERVE_ variables in addition to those of the site."""
        port = free_port()
        usual: dict[str, object] = {
            "listen__port": port,
            "models__threads": 1,
            "auth__required": True,
            "auth__proxies": json.dumps(["127.0.0.1/32"]),
            # Replays count as wrong keys; they are to be refused because of their nonce.
            "auth__max_failures_per_minute": 600_000,
            "auth__max_failures_burst": 20_000,
            "limits__tiers": json.dumps(TIERS),
            # With the default of 40 ms workers count by themselves whenever the processors are busy.
            "limits__redis_timeout": 1,
            "limits__redis": f"redis://127.0.0.1:{self.redis.port}/1",
            "cache__redis": f"redis://127.0.0.1:{self.redis.port}/0",
            "request_log__url": self.log_url,
            "request_log__spool_dir": self.folder / "spool",
            "telemetry__log_level": "error",
            "lifecycle__drain_delay": 1,
        }
        environment = {f"ASSAY_SERVE_{name.upper()}": str(value) for name, value in (usual | settings).items()}
        # As on machines of their own, workers share nonces through Redis only.
        keys = self.folder / f"keys-{port}"
        shutil.copytree(self.folder / "keys", keys)
        environment |= {
            "ASSAY_KEYS": str(keys),
            "ASSAY_STATE": str(self.folder / f"state-{port}"),
            "OMP_NUM_THREADS": "1",
        }
        assay = Path(sys.executable).with_name("assay")
        command = [assay, "serve", self.bundle]
        return Service(f"worker-{number}", port, command, self.folder / f"worker-{port}.log", environment)

    def make_balancer(self, name: str, workers: Sequence[Service], *, tls: bool = True) -> Service:
        """Return an HAProxy with the configuration of `deploy/`, for these workers."""
        https, statistics = free_port(), free_port()
        text = (DEPLOY / "haproxy.cfg").read_text(encoding="utf-8")
        text = text.replace("/usr/local/etc/haproxy/certs/", f"{self.folder}/certs/")
        text = text.replace("bind :8443", f"bind 127.0.0.1:{https}").replace(
            "bind :8404", f"bind 127.0.0.1:{statistics}"
        )
        if not tls:
            text = re.sub(r"(bind 127\.0\.0\.1:\d+) ssl .*", r"\1", text)
        servers = "\n".join(f"    server {item.name} 127.0.0.1:{item.port} check" for item in workers)
        text, count = re.subn(r" +server-template assay- .*", servers, text)
        if count != 1:
            raise BenchmarkError("deploy/haproxy.cfg has no line server-template assay-")
        path = self.folder / f"{name}.cfg"
        path.write_text(text, encoding="utf-8")
        return Service(name, https, [find("haproxy"), "-db", "-f", path], self.folder / f"{name}.log", {})

    def _service(self, name: str, command: Sequence[object]) -> Service:
        port = free_port()
        parts = [str(part).replace("PORT", str(port)) for part in command]
        return Service(name, port, parts, self.folder / f"{name}.log", {})

    def _make_certificate(self) -> None:
        folder = self.folder / "certs"
        folder.mkdir()
        options = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-days",
            "1",
        ]
        files = ["-keyout", self.folder / "key.pem", "-out", self.folder / "cert.pem"]
        subprocess.run([find("openssl"), "req", "-x509", *options, *files], check=True, capture_output=True)
        joined = (self.folder / "cert.pem").read_bytes() + (self.folder / "key.pem").read_bytes()
        (folder / "assay.pem").write_bytes(joined)

    def _make_prometheus(self) -> Service:
        key = self.folder / "metrics.key"
        key.write_text(self.keys["metrics"], encoding="utf-8")
        targets = ", ".join(f"'127.0.0.1:{worker.port}'" for worker in self.workers)
        path = self.folder / "prometheus.yml"
        path.write_text(
            f"global: {{scrape_interval: 1s}}\nrule_files: ['{DEPLOY / 'rules.yml'}']\nscrape_configs:\n"
            f"  - job_name: assay\n    authorization: {{credentials_file: '{key}'}}\n"
            f"    static_configs: [{{targets: [{targets}]}}]\n",
            encoding="utf-8",
        )
        data = [f"--config.file={path}", f"--storage.tsdb.path={self.folder / 'prometheus'}"]
        return self._service("prometheus", [find("prometheus"), *data, "--web.listen-address=127.0.0.1:PORT"])
