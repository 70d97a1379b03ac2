"""Validation of a checkpoint before a run is resumed: keys, types, shapes and finite values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn, optim

from assay.training.history import EpochMetrics


class CheckpointMismatchError(ValueError):
    """A value in a checkpoint does not match the run; the message names it."""


def check_keys(plain: Mapping[str, Any], expected: Sequence[str], what: str) -> None:
    """Check that a mapping has exactly the expected keys."""
    if missing := [name for name in expected if name not in plain]:
        raise CheckpointMismatchError(f"{what} has no {missing[0]!r}")
    if more := [name for name in plain if name not in expected]:
        raise CheckpointMismatchError(f"{what} has {str(more[0])[:60]!r}, which does not belong there")


def check_type(value: object, kind: type | tuple[type, ...], what: str) -> Any:
    """Return the value if it has the type; a bool does not count as a number."""
    wrong_bool = isinstance(value, bool) and kind is not bool
    if wrong_bool or not isinstance(value, kind):
        raise CheckpointMismatchError(f"{what} is a {type(value).__name__}")
    return value


def parse_epoch_metrics(plain: object) -> tuple[EpochMetrics, ...]:
    """Parse the metrics of all epochs: at least one, counted from 1 without gaps."""
    epochs = []
    for number, epoch in enumerate(check_type(plain, list, "metrics"), start=1):
        check_type(epoch, dict, f"epoch {number} of metrics")
        check_keys(epoch, [field.name for field in fields(EpochMetrics)], f"epoch {number} of metrics")
        for name, value in epoch.items():
            check_type(value, int if name == "epoch" else float, f"{name} of epoch {number}")
            if not math.isfinite(value):
                raise CheckpointMismatchError(f"{name} of epoch {number} is {value}")
        if epoch["epoch"] != number:
            raise CheckpointMismatchError(f"metrics {number} are of epoch {epoch['epoch']}")
        epochs.append(EpochMetrics(**epoch))
    if not epochs:
        raise CheckpointMismatchError("metrics is empty")
    return tuple(epochs)


def parse_step_losses(plain: object, epochs: int) -> tuple[tuple[float, ...], ...]:
    """Parse the losses of every step, one tuple per epoch."""
    step_losses = check_type(plain, list, "step_losses")
    if len(step_losses) != epochs:
        raise CheckpointMismatchError(f"step_losses has {len(step_losses)} epochs and metrics has {epochs}")
    for number, losses in enumerate(step_losses, start=1):
        _check_finite_tensor(losses, f"step_losses of epoch {number}")
        if losses.ndim != 1 or not losses.is_floating_point():
            raise CheckpointMismatchError(f"step_losses of epoch {number} are {_describe_tensor(losses)}")
    return tuple(tuple(losses.tolist()) for losses in step_losses)


def check_state_dict(state: object, module: nn.Module, what: str) -> None:
    """Check that tensors match a module's state dict in names, shapes and types, and are finite."""
    weights = check_type(state, dict, what)
    expected = module.state_dict()
    check_keys(weights, list(expected), what)
    for name, tensor in expected.items():
        _check_finite_tensor(weights[name], f"{name} of {what}")
        _check_same_shape(weights[name], tensor, f"{name} of {what}")


def check_optimizer_state(state: object, optimizer: optim.Optimizer) -> None:
    """Check that a state dict can be loaded into an optimizer."""
    what = "optimizer"
    given = check_type(state, dict, what)
    check_keys(given, ["state", "param_groups"], what)
    groups = check_type(given["param_groups"], list, f"param_groups of {what}")
    parameter_states = check_type(given["state"], dict, f"state of {what}")
    expected_groups = optimizer.state_dict()["param_groups"]
    if len(groups) != len(expected_groups):
        raise CheckpointMismatchError(f"{what} has {len(groups)} groups, not {len(expected_groups)}")
    for number, (group, expected) in enumerate(zip(groups, expected_groups, strict=True)):
        _check_group(group, expected, f"group {number} of {what}")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    keys = _OPTIMIZER_STATE_KEYS[type(optimizer)]
    for index, values in parameter_states.items():
        where = f"state {str(index)[:20]} of {what}"
        check_type(index, int, where)
        check_type(values, dict, where)
        if not 0 <= index < len(parameters):
            raise CheckpointMismatchError(f"{where} belongs to no weight")
        check_keys(values, keys, where)
        for name, value in values.items():
            if value is None and name == "momentum_buffer":
                continue
            _check_finite_tensor(value, f"{name} of {where}")
            shape = () if name == "step" else parameters[index].shape
            if tuple(value.shape) != tuple(shape) or not value.is_floating_point():
                raise CheckpointMismatchError(f"{name} of {where} is {_describe_tensor(value)}")
            if name in _NON_NEGATIVE and (value < 0).any():
                raise CheckpointMismatchError(f"{name} of {where} is negative")


_NON_NEGATIVE = frozenset({"step", "exp_avg_sq"})
_DEVICE_DEPENDENT = frozenset({"fused", "foreach", "capturable"})
_OPTIMIZER_STATE_KEYS: Mapping[type[optim.Optimizer], Sequence[str]] = {
    optim.Adam: ("step", "exp_avg", "exp_avg_sq"),
    optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    optim.SGD: ("momentum_buffer",),
}


def _check_group(group: object, expected: Mapping[str, Any], what: str) -> None:
    given_group = check_type(group, dict, what)
    check_keys(given_group, list(expected), what)
    for name, value in expected.items():
        given = given_group[name]
        if name == "lr":  # set before every step
            same = isinstance(given, float) and math.isfinite(given)
        elif name in _DEVICE_DEPENDENT:
            same = given is None or isinstance(given, bool)
        else:
            same = type(given) is type(value) and given == value
        if not same:
            raise CheckpointMismatchError(f"{name} of {what} is not the run's")


def _check_finite_tensor(value: object, what: str) -> None:
    tensor = check_type(value, Tensor, what)
    if tensor.is_nested or tensor.is_quantized or tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise CheckpointMismatchError(f"{what} is not a plain tensor")
    # A tensor expanded from a few bytes could otherwise take more memory than there is.
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise CheckpointMismatchError(f"{what} does not hold the numbers of its shape")
    if not torch.isfinite(tensor).all():
        raise CheckpointMismatchError(f"{what} has numbers that are not finite")


def _check_same_shape(value: Tensor, expected: Tensor, what: str) -> None:
    if value.shape != expected.shape or value.dtype != expected.dtype:
        raise CheckpointMismatchError(f"{what} is {_describe_tensor(value)}, not {_describe_tensor(expected)}")


def _describe_tensor(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
