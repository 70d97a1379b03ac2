"""The parts of a deployment fail one after the other under load, and no request is lost."""

import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pymongo
from processes import BenchmarkError
from system_load import Locust, Row
from system_site import Service, Site, get, wait_for


@dataclass
class Results:
    """Rows of the page by section, and what failed."""

    sections: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    """Figure, target and result."""
    missed: list[str] = field(default_factory=list)

    def add(self, section: str, figure: str, value: str, target: str = "", *, met: bool = True) -> None:
        """Add a row; `met` is meaningful if there is a target."""
        self.sections.setdefault(section, []).append((figure, target, value if met else f"{value} **missed**"))
        if not met:
            self.missed.append(f"{figure}: {value}, not {target}")
        print(f"  {figure}: {value}{'' if met else '  MISSED, ' + target}", flush=True)


@dataclass(frozen=True)
class Round:
    """What every measurement needs; times in seconds."""

    site: Site
    photos: Path
    results: Results
    fault_seconds: float
    load_seconds: float
    rate: float
    """Requests per second during a fault."""
    limit_seconds: float
    rounds: int

    @property
    def photo(self) -> bytes:
        """One photo."""
        return next(iter(sorted(self.photos.iterdir()))).read_bytes()


def make_faults(site: Site, seconds: float) -> dict[str, Callable[[], None]]:
    """Return what fails, by description; services that were killed are started again after `seconds`."""

    def outage(service: Service) -> None:
        service.stop(signal.SIGKILL)
        time.sleep(seconds)
        service.start()

    def restart_all() -> None:
        for worker in site.workers:
            worker.stop()
            worker.start()
            wait_for(partial(site.is_ready, worker), f"/ready of {worker.name}")

    def reload_all() -> None:
        for worker in site.workers:
            worker.send(signal.SIGHUP)

    return {
        "no fault": lambda: None,
        "API worker killed (SIGKILL), started again": partial(outage, site.workers[0]),
        "rolling restart of all workers": restart_all,
        "reload (SIGHUP) on all workers": reload_all,
        "Redis killed, started again": partial(outage, site.redis),
        _MONGO: partial(outage, site.mongo),
        _BALANCER: partial(outage, site.balancers[1]),
    }


_MONGO = "MongoDB killed, started again"
_BALANCER = "one of two HAProxies killed, started again"
_SECTION = "Faults under load"


def measure_faults(given: Round) -> None:
    """Let one part after the other fail under load."""
    for name, act in make_faults(given.site, given.fault_seconds / 4).items():
        before = count_records(given.site)
        row, repeated = run_fault(given, act)
        text = f"{row.failures} of {row.requests} failed; p95 {row.p95:.0f} ms, longest {row.longest:.0f} ms"
        target, met = "0 failed", row.failures == 0 and row.requests > 0
        if name == _BALANCER:
            text += f"; {repeated.requests} requests repeated at the other address"
            target, met = "0 failed, longest ≤ 1 s", met and row.longest <= 1000
        given.results.add(_SECTION, name, text, target, met=met)
        if name == _MONGO:
            wanted = before + row.requests - row.failures
            with contextlib.suppress(BenchmarkError):
                wait_for(partial(_has_records, given.site, wanted), "the last request record", 60)
            found = count_records(given.site) - before
            figure = "records of the requests during the outage of MongoDB"
            met = found >= row.requests - row.failures
            given.results.add(_SECTION, figure, f"{found} of {row.requests}", "all", met=met)


def _has_records(site: Site, count: int) -> bool:
    return count_records(site) >= count


def run_fault(given: Round, act: Callable[[], None]) -> tuple[Row, Row]:
    """Return the row of the requests during a fault, and that of repeated ones."""
    load = Locust(given.site, given.photos, {"gold": given.rate}, given.fault_seconds, cached=False)
    start = requests_of(given.site)
    wait_for(lambda: requests_of(given.site) > start + given.rate or not load.running, "the first requests", 60)
    act()
    rows = load.rows()
    return rows.get("gold", Row()), rows.get("gold (repeated)", Row())


def requests_of(site: Site) -> float:
    """Return how many requests the running workers have answered."""
    total = 0.0
    for worker in site.workers:
        _, text = get(f"http://127.0.0.1:{worker.port}/metrics", site.keys["metrics"])
        total += sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("assay_requests_total{"))
    return total


def count_records(site: Site) -> int:
    """Return the number of request records of photos that were classified."""
    with pymongo.MongoClient[dict[str, Any]](site.log_url, serverSelectionTimeoutMS=5000) as client:
        return client.get_default_database()["request_logs"].count_documents({"status": 200})
