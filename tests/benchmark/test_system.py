"""`make system`: its parts that need no load."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from services import find_program

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def modules() -> tuple[ModuleType, ModuleType, ModuleType]:
    """The modules, which import each other as the program does."""
    pytest.importorskip("simpy")
    for program in ("redis-server", "nx-27017", "haproxy", "prometheus", "openssl"):
        find_program(program)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import system_load  # noqa: PLC0415
        import system_site  # noqa: PLC0415

        import system  # noqa: PLC0415
    finally:
        sys.path.remove(str(BENCHMARKS))
    return system, system_load, system_site


def test_statistics_of_locust_are_summarized(modules: tuple[ModuleType, ...]):
    row = {
        "num_requests": 100,
        "num_failures": 2,
        "total_response_time": 2500.0,
        "max_response_time": 90.0,
        "response_times": {"20": 95, "80": 5},
    }
    found = modules[1].Row.parse(row)
    assert (found.requests, found.failures, found.mean, found.p95, found.longest) == (100, 2, 25.0, 20.0, 90.0)
    empty = modules[1].Row.parse({**row, "num_requests": 0})
    assert empty.requests == 0
    assert math.isnan(empty.mean)


def test_configurations_of_all_services_are_valid(modules: tuple[ModuleType, ...], tmp_path: Path):
    bundle = tmp_path / "model.assay"
    bundle.write_bytes(b"a bundle")
    site = modules[2].Site(tmp_path / "site", bundle)
    for balancer in (*site.balancers, site.make_balancer("plain", site.workers[:2], tls=False)):
        path = tmp_path / f"site/{balancer.name}.cfg"
        run = subprocess.run([find_program("haproxy"), "-c", "-f", path], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
    check = [find_program("promtool"), "check", "config", tmp_path / "site/prometheus.yml"]
    run = subprocess.run(check, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_services_are_ended_whatever_happens(modules: tuple[ModuleType, ...], tmp_path: Path):
    bundle = tmp_path / "model.assay"
    bundle.write_bytes(b"no bundle")
    site = modules[2].Site(tmp_path / "site", bundle)
    with pytest.raises(modules[2].BenchmarkError, match="worker-0 ended: "), site.start():
        pass
    for service in (site.redis, site.mongo):
        with pytest.raises(ProcessLookupError):
            os.kill(service.pid, 0)


def test_processes_are_limited_to_a_share_of_a_core(modules: tuple[ModuleType, ...]):
    load = modules[1]
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with load.cpu_limits([process.pid], 0.1):
            used, begin = load.cpu_seconds(process.pid), time.monotonic()
            time.sleep(2)
            share = (load.cpu_seconds(process.pid) - used) / (time.monotonic() - begin)
    except load.BenchmarkError as error:
        pytest.skip(str(error))
    finally:
        process.kill()
        process.wait()
    assert share < 0.15


def test_page_lists_results_and_missed_targets(modules: tuple[ModuleType, ...], tmp_path: Path):
    system = modules[0]
    results = system.Results()
    results.add("Faults", "worker killed", "0 of 100 failed", "0 failed")
    results.add("Faults", "Redis killed", "3 of 100 failed", "0 failed", met=False)
    system.write_page(tmp_path / "page.md", results, ' SYSTEM="--quick"', (0.1, 0.2), 12.0)
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| Redis killed | 0 failed | 3 of 100 failed **missed** |" in text
    assert "1 targets missed" in text
