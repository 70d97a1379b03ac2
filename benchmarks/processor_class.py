"""Classes of processors by their instructions for int8, and the variables that limit all programs to a class."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ProcessorClass:
    """Processors whose int8 products use the same instructions.

    Attributes:
        name: as in `RESULTS.md`.
        feature: the CPU flag that all of them have.
        limit: variables that keep oneDNN (OpenVINO, PyTorch), ATen and MKL from using newer instructions. ONNX Runtime
            has no such variable.
    """

    name: str
    feature: str
    limit: Mapping[str, str] = field(default_factory=dict)


def _limited(onednn: str, aten: str) -> dict[str, str]:
    return {"ONEDNN_MAX_CPU_ISA": onednn, "ATEN_CPU_CAPABILITY": aten, "MKL_ENABLE_INSTRUCTIONS": aten.upper()}


CLASSES = {
    "amx": ProcessorClass("AMX", "amx_int8"),
    "vnni": ProcessorClass("AVX-512 VNNI", "avx512_vnni", _limited("AVX512_CORE_VNNI", "avx512")),
    "avx2-vnni": ProcessorClass("AVX2 VNNI", "avx_vnni", _limited("AVX2_VNNI", "avx2")),
    "avx2": ProcessorClass("AVX2", "avx2", _limited("AVX2", "avx2")),
    "other": ProcessorClass("other", ""),
}
"""By the name for `--isa`, fastest first."""


def own_class(features: Collection[str]) -> str:
    """Return the name of the fastest class of a processor with these flags."""
    return next((name for name, entry in CLASSES.items() if entry.feature in features), "other")
