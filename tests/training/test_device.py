"""Choice of device and precision."""

from typing import Literal

import pytest
import torch

from assay.core.cpu import bf16_instructions
from assay.core.errors import UsageError
from assay.recipe import TrainSpec
from assay.training.device import Device, available_devices, deterministic_algorithms, precision_warning, select_device


def test_cpu_is_always_available_and_last():
    assert available_devices()[-1] == "cpu"


def test_auto_uses_the_fastest_device_and_bf16_on_cpus_with_instructions_for_it():
    assert select_device(TrainSpec(device="auto")).kind == available_devices()[0]
    expected = "bf16" if bf16_instructions() else "32"
    assert select_device(TrainSpec(device="cpu")) == Device("cpu", expected)


@pytest.mark.parametrize("requested", ["auto", "bf16"])
def test_a_head_on_embeddings_is_trained_in_32_bits(requested: Literal["auto", "bf16"]):
    spec = TrainSpec(device="cpu", precision=requested)
    assert select_device(spec, on_embeddings=True) == Device("cpu", "32")


def test_a_device_keeps_its_precision_where_it_cannot_compute_in_the_other():
    cpu, gpu = Device("cpu", "32"), Device("cuda", "bf16")
    assert cpu.with_precision("bf16") == Device("cpu", "bf16")
    assert gpu.with_precision("fp16") == Device("cuda", "fp16")
    assert gpu.with_precision("32") == Device("cuda", "32")
    assert [cpu.with_precision(other) for other in ("fp16", "8", None)] == [cpu] * 3


def test_precisions_map_to_names_of_lightning():
    assert [Device("cuda", precision).lightning_precision for precision in ("32", "bf16", "fp16")] == [
        "32-true",
        "bf16-mixed",
        "16-mixed",
    ]


def test_missing_device_raises_and_names_the_setting():
    missing = next(kind for kind in ("mps", "cuda") if kind not in available_devices())
    with pytest.raises(UsageError, match=rf"train\.device is {missing}.*train\.device=auto"):
        select_device(TrainSpec(device=missing))


def test_fp16_on_the_cpu_raises():
    with pytest.raises(UsageError, match=r"train\.precision is fp16"):
        select_device(TrainSpec(device="cpu", precision="fp16"))


def test_deterministic_kernels_are_used_on_a_gpu_and_restored():
    with deterministic_algorithms(Device("cuda", "32")):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic_algorithms(Device("cpu", "32")):
        assert not torch.are_deterministic_algorithms_enabled()


def test_bf16_without_instructions_for_it_gives_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "train.precision=auto" in (precision_warning(TrainSpec(device="cpu", precision="bf16")) or "")
    assert precision_warning(TrainSpec(device="cpu", precision="auto")) is None
    assert precision_warning(TrainSpec(device="cpu", precision="32")) is None


@pytest.mark.skipif(not bf16_instructions(), reason="the processor has no instructions for bf16")
def test_bf16_with_instructions_for_it_gives_no_warning():
    assert precision_warning(TrainSpec(device="cpu", precision="bf16")) is None
