"""Usable CPU count (affinity and cgroup limits) and instruction set extensions for int8 and bfloat16."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def cpu_count(root: Path = _ROOT) -> int:
    """Return the number of CPUs available to this process, at least 1.

    The minimum of the CPU affinity and the CPU quotas of the process's cgroups, rounded up. `root` is the parent of
    `/proc` and `/sys`.

    Source: Linux kernel documentation, "Control Group v2" (cpu.max) and "CFS Bandwidth Control" (v1).
    """
    return max(1, min([_affinity_count(), *(math.ceil(quota) for quota in _cgroup_quotas(root))]))


_VNNI = frozenset({"avx_vnni", "avx512_vnni"})
_ISA_LEVELS = {
    **dict.fromkeys(("SSE41", "AVX", "AVX2", "AVX512_CORE"), frozenset[str]()),
    **dict.fromkeys(("AVX2_VNNI", "AVX2_VNNI_2"), frozenset({"avx_vnni"})),
    "AVX512_CORE_VNNI": _VNNI,
    **dict.fromkeys(("AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512"), _VNNI | {"avx512_bf16"}),
}
"""Extensions among the flags below that oneDNN uses at each level; other levels, such as ALL, limit none of them."""
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


def int8_instructions(root: Path = _ROOT) -> frozenset[str] | None:
    """Return the CPU's int8 dot product extensions; without any, int8 models are hardly faster or less accurate.

    Some of avx512_vnni, avx_vnni, amx_int8 (x86), asimddp, i8mm (ARM), without those that the environment variable
    ONEDNN_MAX_CPU_ISA excludes; None if the system does not report them.
    """
    known = _cpu_flags(root)
    return None if known is None else _within_limit(_INT8_FLAGS & known)


def bf16_instructions(root: Path = _ROOT) -> frozenset[str]:
    """Return the bfloat16 extensions of an x86 CPU within ONEDNN_MAX_CPU_ISA: some of avx512_bf16, amx_bf16."""
    return _within_limit(_BF16_FLAGS & (_cpu_flags(root) or frozenset()))


def _within_limit(flags: frozenset[str]) -> frozenset[str]:
    return flags & _ISA_LEVELS.get(isa_limit(), flags)


def isa_limit() -> str:
    """Return the instruction set in ONEDNN_MAX_CPU_ISA, which limits OpenVINO and PyTorch; empty: no limit."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()


def _cpu_flags(root: Path) -> frozenset[str] | None:
    for line in _read_lines(root / "proc/cpuinfo"):
        name, _, flags = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(flags.split())
    return None


def _affinity_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_quotas(root: Path) -> Iterator[float]:
    for line in _read_lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / ("sys/fs/cgroup/cpu" if controllers else "sys/fs/cgroup")
        group = PurePosixPath(path.lstrip("/"))
        for level in (group, *group.parents):
            yield from _cgroup_quota(mount / level, unified=not controllers)


def _cgroup_quota(folder: Path, *, unified: bool) -> Iterator[float]:
    if unified:
        words = " ".join(_read_lines(folder / "cpu.max")).split()
    else:
        words = [*_read_lines(folder / "cpu.cfs_quota_us"), *_read_lines(folder / "cpu.cfs_period_us")]
    # "max" and -1 mean no limit.
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
        yield int(words[0]) / int(words[1])


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
