"""Choice of precision and engine for the processor."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.core.cpu import bf16_instructions, int8_instructions
from assay.inference import EngineMode
from assay.inference.engine_selection import (
    benchmark_engines,
    cached_fastest_engine,
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


def test_fastest_engine_is_cached_per_model_and_setting(tmp_path: Path, make_model: Callable[..., bytes]) -> None:
    model = make_model()
    assert cached_fastest_engine(model, 1, "latency", tmp_path) is None
    chosen = benchmark_engines(model, 1, "latency", tmp_path)
    assert cached_fastest_engine(model, 1, "latency", tmp_path) == chosen
    others: list[tuple[bytes, int, EngineMode]] = [
        (make_model(side=32), 1, "latency"),
        (model, 2, "latency"),
        (model, 1, "throughput"),
    ]
    assert [cached_fastest_engine(*item, tmp_path) for item in others] == [None, None, None]
    (file,) = tmp_path.iterdir()
    assert set(json.loads(file.read_text())["seconds"]) == {"openvino", "onnxruntime"}


def test_small_difference_does_not_change_the_engine(tmp_path: Path, make_model: Callable[..., bytes]) -> None:
    usual = preferred_engines()[0]
    ticks = iter(float(tick) for tick in range(1000))
    assert benchmark_engines(make_model(), 1, "latency", tmp_path, clock=lambda: next(ticks)) == usual


def test_clearly_faster_engine_is_used(tmp_path: Path, make_model: Callable[..., bytes]) -> None:
    first, second = [0.0, 10.0] * 4, [0.0, 1.0] * 4
    readings = iter([*first, *second] * 3)
    chosen = benchmark_engines(make_model(), 1, "latency", tmp_path, clock=lambda: next(readings))
    assert chosen == preferred_engines()[1]


@pytest.mark.parametrize("text", ["", "[]", '{"engine": "abacus"}', '{"engine": 3}'])
def test_damaged_cache_file_is_ignored(tmp_path: Path, make_model: Callable[..., bytes], text: str) -> None:
    benchmark_engines(make_model(), 1, "latency", tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(text)
    assert cached_fastest_engine(make_model(), 1, "latency", tmp_path) is None


def test_unwritable_folder_is_tolerated(tmp_path: Path, make_model: Callable[..., bytes]) -> None:
    (tmp_path / "file").write_text("")
    assert benchmark_engines(make_model(), 1, "latency", tmp_path / "file") in preferred_engines()
