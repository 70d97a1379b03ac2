"""The number of usable CPUs."""

import os
from pathlib import Path

import pytest

from assay.core.cpu import cpu_count

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write(root: Path, path: str, text: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def test_affinity_without_control_groups(tmp_path: Path) -> None:
    assert cpu_count(tmp_path) == ALLOWED


def test_at_least_one_cpu_on_this_machine() -> None:
    assert 1 <= cpu_count() <= ALLOWED


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("max 100000", ALLOWED),
        ("6400000 100000", ALLOWED),
        ("", ALLOWED),
    ],
)
def test_container_limit(tmp_path: Path, limit: str, expected: int) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", limit)
    assert cpu_count(tmp_path) == expected


def test_limit_of_a_parent_group(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/user.slice/job.scope\n")
    write(tmp_path, "sys/fs/cgroup/user.slice/job.scope/cpu.max", "max 100000\n")
    write(tmp_path, "sys/fs/cgroup/user.slice/cpu.max", "90000 100000\n")
    assert cpu_count(tmp_path) == 1


def test_control_groups_version_1(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "5:memory:/docker\n4:cpu,cpuacct:/docker\n")
    write(tmp_path, "sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us", "100000\n")
    write(tmp_path, "sys/fs/cgroup/cpu/docker/cpu.cfs_period_us", "100000\n")
    assert cpu_count(tmp_path) == 1


def test_control_groups_version_1_without_limit(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "4:cpu:/\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert cpu_count(tmp_path) == ALLOWED
