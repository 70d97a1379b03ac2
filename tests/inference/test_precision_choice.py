"""Choice of precision and engine for the processor."""

from pathlib import Path

import pytest

from assay.core.cpu import bf16_instructions, int8_instructions
from assay.inference.engine_selection import (
    choose_precision,
    preferred_engines,
    stored_precision,
)


def processor(root: Path, line: str) -> Path:
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    return root


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu sse avx2", set()),
        ("flags\t\t: fpu avx512_vnni amx_int8 amx_bf16", {"avx512_vnni", "amx_int8"}),
        ("Features\t: fp asimd asimddp", {"asimddp"}),
    ],
)
def test_int8_instructions_are_read_from_proc_cpuinfo(tmp_path: Path, line: str, expected: set[str]) -> None:
    assert int8_instructions(processor(tmp_path, line)) == expected


def test_bfloat16_instructions_are_read_from_proc_cpuinfo(tmp_path: Path) -> None:
    line = "flags\t\t: fpu avx512_vnni amx_int8 amx_bf16"
    assert bf16_instructions(processor(tmp_path, line)) == {"amx_bf16"}


@pytest.mark.parametrize(
    ("limit", "int8", "bf16"),
    [
        ("AVX2", set(), set()),
        ("avx2_vnni", {"avx_vnni"}, set()),
        ("AVX512_CORE", set(), set()),
        ("AVX512_CORE_VNNI", {"avx_vnni", "avx512_vnni"}, set()),
        ("AVX512_CORE_BF16", {"avx_vnni", "avx512_vnni"}, {"avx512_bf16"}),
        ("ALL", {"avx_vnni", "avx512_vnni", "amx_int8"}, {"avx512_bf16", "amx_bf16"}),
    ],
)
def test_instructions_follow_the_limit_of_onednn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, int8: set[str], bf16: set[str]
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    root = processor(tmp_path, "flags\t\t: avx2 avx_vnni avx512_vnni avx512_bf16 amx_int8 amx_bf16")
    assert (int8_instructions(root), bf16_instructions(root)) == (int8, bf16)
    assert (choose_precision("auto", "int8", ("fp32", "int8"), root) == "int8") == bool(int8)


def test_other_systems_report_no_instructions(tmp_path: Path) -> None:
    assert int8_instructions(tmp_path) is None
    assert bf16_instructions(tmp_path) == frozenset()


def test_int8_is_used_if_the_processor_supports_it(tmp_path: Path) -> None:
    both = ("fp32", "int8")
    assert choose_precision("auto", "int8", both, tmp_path) == "int8"  # Not reported by the system.
    assert choose_precision("auto", "int8", both, processor(tmp_path, "flags : avx2")) == "fp32"
    assert choose_precision("auto", "fp32", both, tmp_path) == "fp32"
    assert choose_precision("int8", "fp32", both, tmp_path) == "int8"
    assert choose_precision("fp32", "int8", both, tmp_path) == "fp32"


def test_bfloat16_is_used_on_request_only(tmp_path: Path) -> None:
    made_for_it = processor(tmp_path, "flags : avx512_bf16 amx_bf16")
    assert choose_precision("auto", "fp32", ("fp32",), made_for_it) == "fp32"
    assert choose_precision("bf16", "int8", ("fp32", "int8"), made_for_it) == "bf16"
    assert [stored_precision(item) for item in ("fp32", "bf16", "int8")] == ["fp32", "fp32", "int8"]


def test_arm_and_x86_differ() -> None:
    assert preferred_engines("x86_64")[-2:] == ("openvino", "onnxruntime")
    assert preferred_engines("aarch64")[-2:] == ("onnxruntime", "openvino")
