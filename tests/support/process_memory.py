"""Memory of running processes, as Linux reports it."""

from pathlib import Path


def peak_memory(pid: int) -> int:
    """Return the largest resident memory that a process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024
    raise AssertionError(f"the system does not report the peak memory of process {pid}")
