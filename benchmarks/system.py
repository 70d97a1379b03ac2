"""A deployment on one machine under load and under faults: `make system`, or `python benchmarks/system.py --quick`.

Starts HAProxy with TLS 1.3 (two of them), four `assay serve` processes, Redis, a MongoDB-wire server and Prometheus,
loads them with `deploy/locustfile.py`, lets parts of them fail, ends everything, and writes `SYSTEM.md`. A round takes
some minutes. All processes share the processors of this machine; the page lists the load before and after.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import redis
from capacity import Service as ServiceCost
from capacity import shared_wait, simulate_shared
from client import Requests, closed_loop
from processes import HERE, BenchmarkError, processors_in_use
from system_faults import Results, Round, measure_faults
from system_load import Locust, Row, count_accepted, cpu_limits, cpu_seconds, replay
from system_site import PROGRAMS, TIERS, Site, find, get, make_photos, wait_for

from assay.benchmark.runner import machine_info
from assay.core.cpu import cpu_count


def measure_limits(given: Round) -> None:
    """Count what a limit lets through across workers and balancers, and try to replay signed requests."""
    site, tier = given.site, TIERS["bronze"]
    allowed = tier["per_minute"] / 60
    statuses, taken = count_accepted(site, "bronze", 3 * allowed, given.limit_seconds, given.photo)
    expected = tier["burst"] + allowed * taken
    share = statuses[200] / expected - 1
    text = f"{statuses[200]} accepted, {expected:.0f} expected: {share:+.1%}; statuses {dict(sorted(statuses.items()))}"
    met = abs(share) <= 0.02 and set(statuses) == {200, 429}
    given.results.add("Limits and nonces across workers", "requests at three times the limit", text, "± 2 %", met=met)
    count = int(given.limit_seconds)
    accepted, all_statuses = replay(site, given.photo, count)
    text = f"{accepted[1]} of {count} accepted once; statuses {dict(sorted(all_statuses.items()))}"
    figure = f"signed requests, each sent {len(site.workers) + len(site.balancers)} times at once"
    met = accepted == {1: count}
    given.results.add("Limits and nonces across workers", figure, text, "each accepted once", met=met)


def measure_scaling(given: Round) -> None:
    """Compare several workers with one, each limited to a share of a core, on results from the cache."""
    site, share = given.site, 0.02 * cpu_count()
    requests = Requests(sorted(given.photos.iterdir()))
    settings = {"auth__required": False, "request_log__url": "none", "lifecycle__drain_delay": 0}
    workers = [site.make_worker(number, **settings) for number in range(10, 14)]
    balancers = {
        count: site.make_balancer(f"haproxy-{count}-workers", workers[:count], tls=False) for count in (1, 2, 4)
    }
    try:
        for service in (*workers, *balancers.values()):
            service.start()
        for worker in workers:
            wait_for(partial(site.is_ready, worker), f"/ready of {worker.name}")
        rates: dict[int, list[float]] = {count: [] for count in balancers}
        with cpu_limits([worker.pid for worker in workers], share):
            for turn in range(given.rounds + 1):
                for count, balancer in balancers.items():
                    found = asyncio.run(closed_loop(balancer.port, requests.same, 8 * count, given.load_seconds / 2))
                    if turn:  # the first fills the caches
                        rates[count].append(found.rate())
    finally:
        for service in (*balancers.values(), *workers):
            service.stop(seconds=15)
    for count, target in ((2, 1.7), (4, 3.4)):
        gains = [many / one for many, one in zip(rates[count], rates[1], strict=True)]
        gain = sorted(gains)[len(gains) // 2]
        one = sorted(rates[1])[len(gains) // 2]
        text = f"{gain:.2f}× ({min(gains):.2f} to {max(gains):.2f}), one worker: {one:.0f} requests/s"
        figure = f"{count} workers against one, cache hits, each limited to {share:.2f} cores"
        given.results.add("Scaling behind HAProxy", figure, text, f"≥ {target}×", met=gain >= target)


_LIGHT_RATE = 5.0


def measure_capacity(given: Round) -> None:
    """Measure what a request costs, and compare response times with the model at three loads.

    Workers, balancers, stores and the client have more threads than the machine has cores, so requests share the cores.
    """
    site, section = given.site, "Capacity model"
    services = [*site.workers, *site.balancers, site.redis, site.mongo]
    commands = redis.Redis(port=site.redis.port)

    def used() -> np.ndarray:
        cpu, children = commands.info("cpu"), resource.getrusage(resource.RUSAGE_CHILDREN)
        return np.array(
            [
                sum(cpu_seconds(worker.pid) for worker in site.workers),
                sum(cpu_seconds(service.pid) for service in services),
                children.ru_utime + children.ru_stime,
                float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
                float(commands.info("stats")["total_commands_processed"]),
            ]
        )

    def load(rate: float, *, cached: bool) -> tuple[Row, np.ndarray, float]:
        """Return the row of locust, what was used meanwhile, and the seconds it took."""
        begin, before = time.monotonic(), used()
        row = Locust(site, given.photos, {"gold": rate}, given.load_seconds, cached=cached).rows().get("gold", Row())
        if not row.requests:
            raise BenchmarkError("locust sent no requests")
        return row, used() - before, time.monotonic() - begin

    start = used()
    time.sleep(given.load_seconds / 2)
    idle = (used() - start) / (given.load_seconds / 2)  # health checks, scrapes of Prometheus
    given.results.add(section, "processor time of all services without requests", f"{100 * idle[1]:.1f} % of a core")
    cost = {}
    for name, cached in (("from the cache", True), ("classified", False)):
        row, total, seconds = load(given.rate, cached=cached)
        figures = cost[name] = (total - idle * seconds) / row.requests
        text = f"{1e3 * figures[0]:.1f} ms in the workers, {1e3 * figures[1]:.1f} ms in all services"
        given.results.add(section, f"processor time of a photo, {name}", text)
        text = f"{figures[4]:.1f} commands, with those in scripts; {1e6 * figures[3]:.0f} µs of its processor time"
        given.results.add(section, f"Redis, a photo {name}", text)
    # Without a queue: the time on the path of a request, and what locust needs to start.
    light, total, _ = load(_LIGHT_RATE, cached=False)
    begin, mean, cores = total[2], cost["classified"][1], cpu_count()
    given.results.add(section, f"mean response at {_LIGHT_RATE:.0f} requests/s", f"{light.mean:.1f} ms")
    for share in (0.3, 0.5, 0.7):
        rate = share * cores / mean
        row, total, _ = load(rate, cached=False)
        # The client shares the processors.
        fitted = ServiceCost(seconds=(total[1] + max(total[2] - begin, 0.0)) / row.requests)
        try:
            wait, drawn = shared_wait(fitted, rate, cores), simulate_shared(fitted, rate, cores).wait
        except ValueError:
            given.results.add(section, f"{rate:.0f} requests/s", "more than these cores can serve", "", met=False)
            continue
        expected = light.mean + 1e3 * wait
        error = expected / row.mean - 1
        text = (
            f"mean response {row.mean:.1f} ms measured, {expected:.1f} ms by the model ({error:+.0%}), "
            f"{light.mean + 1e3 * drawn:.1f} ms simulated; {row.failures} failed"
        )
        figure = f"{rate:.0f} requests/s, utilisation {rate * fitted.mean / cores:.0%} of {cores} cores"
        given.results.add(section, figure, text, "within 15 %", met=abs(error) <= 0.15)


def measure_monitoring(given: Round) -> None:
    """Check that Prometheus has scraped every worker."""
    query = f"http://127.0.0.1:{given.site.prometheus.port}/api/v1/query?query=sum(assay_requests_total)"
    up = f"http://127.0.0.1:{given.site.prometheus.port}/api/v1/query?query=sum(up)"
    wait_for(lambda: '"4"' in get(up)[1], "the scrape of four workers", 30)
    values = json.loads(get(query)[1])["data"]["result"]
    found = float(values[0]["value"][1]) if values else 0.0
    given.results.add(
        "Monitoring", "requests counted by Prometheus, four workers up", f"{found:.0f}", "> 0", met=found > 0
    )


MEASUREMENTS: dict[str, Callable[[Round], None]] = {
    "faults": measure_faults,
    "limits": measure_limits,
    "scaling": measure_scaling,
    "capacity": measure_capacity,
    "monitoring": measure_monitoring,
}


def make_bundle(path: Path) -> None:
    """Write a bundle with a small untrained network; what it answers does not matter here."""
    import torch  # noqa: PLC0415 - takes seconds, and a bundle may be given

    from assay.bundle import BundleInfo  # noqa: PLC0415
    from assay.bundle.writer import write_bundle  # noqa: PLC0415
    from assay.inference import ENGINES  # noqa: PLC0415
    from assay.nets import create_classifier  # noqa: PLC0415
    from assay.recipe import NetSpec, PreprocessSpec  # noqa: PLC0415

    torch.manual_seed(0)
    mean, std, side = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 96
    network = create_classifier(NetSpec(name="resnet18", weights="none"), 3, mean=mean, std=std, size=side).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), dtype=np.uint8)
    info = BundleInfo(name="system", classes=("a", "b", "c"), preprocess=PreprocessSpec(size=side, mean=mean, std=std))
    write_bundle(path, network, info, pixels, ENGINES)


def write_page(path: Path, results: Results, options: str, loads: tuple[float, float], seconds: float) -> None:
    """Write the results as a page."""
    about = machine_info()
    lines = [
        "# Results of `make system`",
        "",
        f"Written by `make system{options}`; [system.py](system.py) says what is started.",
        f"{len(results.missed)} targets missed.",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {seconds:.0f} s; load {loads[0]:.1f} before, {loads[1]:.1f} after.",
        "",
        f"- processor: {about['processor']}, {about['processors']['usable']} usable ({', '.join(about['features'])})",
        f"- system: {about['system']}, Python {about['python']}",
    ]
    for name, rows in results.sections.items():
        lines += ["", f"## {name}", "", "| figure | target | result |", "|---|---|---|"]
        lines += [f"| {figure} | {target} | {value} |" for figure, target, value in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Run the measurements; return 1 if a target was missed or something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short rounds: does everything run?")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="may be given several times")
    parser.add_argument("--bundle", type=Path, help="the classifier; default: an untrained ResNet-18 of 96 pixels")
    parser.add_argument("--rate", type=float, help="requests per second during faults")
    parser.add_argument("--out", type=Path, default=HERE / "SYSTEM.md", help="the page to write")
    wanted = parser.parse_args()
    results, load, begin = Results(), processors_in_use(), time.monotonic()
    try:
        for name in PROGRAMS:
            find(name)
        with tempfile.TemporaryDirectory(prefix="assay-system-", ignore_cleanup_errors=True) as scratch:
            bundle = wanted.bundle or Path(scratch, "system.assay")
            if wanted.bundle is None:
                make_bundle(bundle)
            site = Site(Path(scratch, "site"), bundle)
            with site.start():
                long, short = (20.0, 12.0) if wanted.quick else (40.0, 30.0)
                given = Round(
                    site,
                    make_photos(Path(scratch, "photos"), 16),
                    results,
                    fault_seconds=long,
                    load_seconds=short,
                    rate=wanted.rate or (10.0 if wanted.quick else 20.0),
                    limit_seconds=20.0 if wanted.quick else 60.0,
                    rounds=1 if wanted.quick else 3,
                )
                for name in wanted.only or MEASUREMENTS:
                    print(name, flush=True)
                    MEASUREMENTS[name](given)
    except BenchmarkError as error:
        results.missed.append(str(error))
        print(f"system: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; all services are ended, no page is written", file=sys.stderr)
        return 130
    options = "".join(f" {part}" for part in sys.argv[1:])
    options = f' SYSTEM="{options.strip()}"' if options else ""
    seconds = time.monotonic() - begin
    write_page(wanted.out, results, options, (load, processors_in_use()), seconds)
    print(f"{wanted.out} is written; {len(results.missed)} targets missed")
    return 1 if results.missed else 0


if __name__ == "__main__":
    sys.exit(main())
