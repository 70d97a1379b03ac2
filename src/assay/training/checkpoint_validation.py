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


def check_keys(plain: Mapping[str, Any], wanted: Sequence[str], what: str) -> None:
    """Check that a mapping has exactly the expected keys."""
    if missing := [name for name in wanted if name not in plain]:
        raise CheckpointMismatchError(f"{what} has no {missing[0]!r}")
    if more := [name for name in plain if name not in wanted]:
        raise CheckpointMismatchError(f"{what} has {str(more[0])[:60]!r}, which does not belong there")


def check_type(value: object, kind: type | tuple[type, ...], what: str) -> None:
    """Check the type of a value; a bool does not count as a number."""
    wrong_bool = isinstance(value, bool) and kind is not bool
    if wrong_bool or not isinstance(value, kind):
        raise CheckpointMismatchError(f"{what} is a {type(value).__name__}")


def parse_epoch_metrics(plain: object) -> tuple[EpochMetrics, ...]:
    """Parse the metrics of all epochs: at least one, counted from 1 without gaps."""
    check_type(plain, list, "rows")
    assert isinstance(plain, list)  # noqa: S101 - for the type checker
    rows = []
    for number, row in enumerate(plain, start=1):
        check_type(row, dict, f"row {number}")
        check_keys(row, [field.name for field in fields(EpochMetrics)], f"row {number}")
        for name, value in row.items():
            check_type(value, int if name == "epoch" else float, f"{name} of row {number}")
            if not math.isfinite(value):
                raise CheckpointMismatchError(f"{name} of row {number} is {value}")
        if row["epoch"] != number:
            raise CheckpointMismatchError(f"row {number} is of epoch {row['epoch']}")
        rows.append(EpochMetrics(**row))
    if not rows:
        raise CheckpointMismatchError("rows is empty")
    return tuple(rows)


def parse_step_losses(plain: object, epochs: int) -> tuple[tuple[float, ...], ...]:
    """Parse the losses of every step, one tuple per epoch."""
    check_type(plain, list, "losses")
    assert isinstance(plain, list)  # noqa: S101 - for the type checker
    if len(plain) != epochs:
        raise CheckpointMismatchError(f"losses are of {len(plain)} epochs and rows of {epochs}")
    for number, values in enumerate(plain, start=1):
        _check_finite_tensor(values, f"losses of epoch {number}")
        if values.ndim != 1 or not values.is_floating_point():
            raise CheckpointMismatchError(f"losses of epoch {number} are {_describe_tensor(values)}")
    return tuple(tuple(values.tolist()) for values in plain)


def check_state_dict(weights: object, module: nn.Module, what: str) -> None:
    """Check that tensors match a module's state dict in names, shapes and types, and are finite."""
    check_type(weights, dict, what)
    assert isinstance(weights, dict)  # noqa: S101 - for the type checker
    wanted = module.state_dict()
    check_keys(weights, list(wanted), what)
    for name, tensor in wanted.items():
        _check_finite_tensor(weights[name], f"{name} of {what}")
        _check_same_shape(weights[name], tensor, f"{name} of {what}")


def check_optimizer_state(state: object, optimizer: optim.Optimizer) -> None:
    """Check that a state dict can be loaded into an optimizer."""
    what = "optimizer"
    check_type(state, dict, what)
    assert isinstance(state, dict)  # noqa: S101 - for the type checker
    fresh = optimizer.state_dict()
    check_keys(state, ["state", "param_groups"], what)
    groups, steps = state["param_groups"], state["state"]
    check_type(groups, list, f"param_groups of {what}")
    check_type(steps, dict, f"state of {what}")
    if len(groups) != len(fresh["param_groups"]):
        raise CheckpointMismatchError(f"{what} has {len(groups)} groups, not {len(fresh['param_groups'])}")
    for number, (group, wanted) in enumerate(zip(groups, fresh["param_groups"], strict=True)):
        _check_group(group, wanted, f"group {number} of {what}")
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    known = _OPTIMIZER_STATE_KEYS[type(optimizer)]
    for place, values in steps.items():
        where = f"state {str(place)[:20]} of {what}"
        check_type(place, int, where)
        check_type(values, dict, where)
        if not 0 <= place < len(parameters):
            raise CheckpointMismatchError(f"{where} belongs to no weight")
        check_keys(values, known, where)
        for name, value in values.items():
            if value is None and name == "momentum_buffer":
                continue
            _check_finite_tensor(value, f"{name} of {where}")
            shape = () if name == "step" else parameters[place].shape
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


def check_state_like(found: object, wanted: Mapping[str, Any] | None, what: str) -> None:
    """Check that a small state (of early stopping, of a schedule) has the keys and types of an initial one.

    Args:
        found: numbers, one-element tensors, strings or None, by name.
        wanted: an initial state; None: `found` must be None too.
        what: name of the state, for the message.
    """
    if wanted is None or found is None:
        if found is not wanted:
            raise CheckpointMismatchError(f"{what} is {'missing' if found is None else 'there, and should not be'}")
        return
    check_type(found, dict, what)
    assert isinstance(found, dict)  # noqa: S101 - for the type checker
    check_keys(found, list(wanted), what)
    for name, value in wanted.items():
        given, where = found[name], f"{name} of {what}"
        if isinstance(value, Tensor):
            check_type(given, Tensor, where)
            if given.numel() != 1 or torch.isnan(given).any():
                raise CheckpointMismatchError(f"{where} is {_describe_tensor(given)}")
        elif value is None:
            check_type(given, (str, type(None)), where)
        else:
            check_type(given, (int, float) if isinstance(value, float) else type(value), where)
            if math.isnan(given) or (isinstance(value, int) and given < 0):
                raise CheckpointMismatchError(f"{where} is {given}")


def _check_group(group: object, wanted: Mapping[str, Any], what: str) -> None:
    check_type(group, dict, what)
    assert isinstance(group, dict)  # noqa: S101 - for the type checker
    check_keys(group, list(wanted), what)
    for name, value in wanted.items():
        given = group[name]
        if name == "lr":  # set before every step
            same = isinstance(given, float) and math.isfinite(given)
        elif name in _DEVICE_DEPENDENT:
            same = given is None or isinstance(given, bool)
        else:
            same = type(given) is type(value) and given == value
        if not same:
            raise CheckpointMismatchError(f"{name} of {what} is not the run's")


def _check_finite_tensor(value: object, what: str) -> None:
    check_type(value, Tensor, what)
    assert isinstance(value, Tensor)  # noqa: S101 - for the type checker
    if value.is_nested or value.is_quantized or value.layout != torch.strided or value.device.type != "cpu":
        raise CheckpointMismatchError(f"{what} is no plain tensor")
    # A tensor expanded from a few bytes could otherwise take more memory than there is.
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise CheckpointMismatchError(f"{what} does not hold the numbers of its shape")
    if not torch.isfinite(value).all():
        raise CheckpointMismatchError(f"{what} has numbers that are not finite")


def _check_same_shape(value: Tensor, wanted: Tensor, what: str) -> None:
    if value.shape != wanted.shape or value.dtype != wanted.dtype:
        raise CheckpointMismatchError(f"{what} is {_describe_tensor(value)}, not {_describe_tensor(wanted)}")


def _describe_tensor(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
