"""Describe the machine of a measurement: processor, threads, library versions, load."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from assay.core.cpu import cpu_count

_ROOT = Path("/")
_LIBRARIES = ("assay", "openvino", "onnxruntime", "numpy", "pillow")
# What decides the speed of a network on a processor, as Linux spells it.
_FEATURES = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
    "sve",
)


def machine_info(root: Path = _ROOT) -> dict[str, Any]:
    """Return what this machine is, as plain values.

    Args:
        root: where `/proc` lies.
    """
    name, features = _processor(root)
    return {
        "processor": name,
        "features": features,
        "processors": {"usable": cpu_count(), "present": os.cpu_count()},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {library: told for library in _LIBRARIES if (told := _version(library))},
    }


def load_average() -> float | None:
    """Return how many processes wanted a processor over the last minute; None where nobody counts."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _processor(root: Path) -> tuple[str, list[str]]:
    """Return the processor's name and those of `_FEATURES` that it has, as far as they are told."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    rows = dict(reversed([line.split(":", 1) for line in text.splitlines() if ":" in line]))
    told = {key.strip().casefold(): value.strip() for key, value in rows.items()}
    flags = set((told.get("flags") or told.get("features") or "").split())
    name = told.get("model name") or platform.processor() or platform.machine()
    return name, [feature for feature in _FEATURES if feature in flags]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
