"""Whether what a checkpoint holds fits the run that goes on from it: names, kinds, shapes and finite numbers.

A file that was edited, cut off, or belongs to another program must end in a sentence, not in a traceback an
epoch later. Everything here raises MisfitError; who knows the file's path says it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn, optim

from assay.training.history import EpochRow


class MisfitError(ValueError):
    """A value in a checkpoint does not match the run; the message names it."""


def require_keys(plain: Mapping[str, Any], wanted: Sequence[str], what: str) -> None:
    """Check that a mapping has exactly the expected keys."""
    if missing := [name for name in wanted if name not in plain]:
        raise MisfitError(f"{what} has no {missing[0]!r}")
    if more := [name for name in plain if name not in wanted]:
        raise MisfitError(f"{what} has {str(more[0])[:60]!r}, which does not belong there")


def require_kind(value: object, kind: type | tuple[type, ...], what: str) -> None:
    """Check the type of a value; a bool does not count as a number."""
    wrong_bool = isinstance(value, bool) and kind is not bool
    if wrong_bool or not isinstance(value, kind):
        raise MisfitError(f"{what} is a {type(value).__name__}")


def epoch_rows(plain: object) -> tuple[EpochRow, ...]:
    """Parse the metrics of all epochs: at least one, counted from 1 without gaps."""
    require_kind(plain, list, "rows")
    assert isinstance(plain, list)  # noqa: S101 - for the type checker
    rows = []
    for number, row in enumerate(plain, start=1):
        require_kind(row, dict, f"row {number}")
        require_keys(row, [field.name for field in fields(EpochRow)], f"row {number}")
        for name, value in row.items():
            require_kind(value, int if name == "epoch" else float, f"{name} of row {number}")
            if not math.isfinite(value):
                raise MisfitError(f"{name} of row {number} is {value}")
        if row["epoch"] != number:
            raise MisfitError(f"row {number} is of epoch {row['epoch']}")
        rows.append(EpochRow(**row))
    if not rows:
        raise MisfitError("rows is empty")
    return tuple(rows)


def step_losses(plain: object, epochs: int) -> tuple[tuple[float, ...], ...]:
    """Parse the losses of every step, one tuple per epoch."""
    require_kind(plain, list, "losses")
    assert isinstance(plain, list)  # noqa: S101 - for the type checker
    if len(plain) != epochs:
        raise MisfitError(f"losses are of {len(plain)} epochs and rows of {epochs}")
    for number, values in enumerate(plain, start=1):
        _finite(values, f"losses of epoch {number}")
        if values.ndim != 1 or not values.is_floating_point():
            raise MisfitError(f"losses of epoch {number} are {_described(values)}")
    return tuple(tuple(values.tolist()) for values in plain)


def check_weights(weights: object, module: nn.Module, what: str) -> None:
    """Check that tensors match a module's state dict in names, shapes and types, and are finite."""
    require_kind(weights, dict, what)
    assert isinstance(weights, dict)  # noqa: S101 - for the type checker
    wanted = module.state_dict()
    require_keys(weights, list(wanted), what)
    for name, tensor in wanted.items():
        _finite(weights[name], f"{name} of {what}")
        _alike(weights[name], tensor, f"{name} of {what}")


def check_optimizer(state: object, optimizer: optim.Optimizer) -> None:
    """Check that a state dict can be loaded into an optimizer."""
    what = "optimizer"
    require_kind(state, dict, what)
    assert isinstance(state, dict)  # noqa: S101 - for the type checker
    fresh = optimizer.state_dict()
    require_keys(state, ["state", "param_groups"], what)
    groups, steps = state["param_groups"], state["state"]
    require_kind(groups, list, f"param_groups of {what}")
    require_kind(steps, dict, f"state of {what}")
    if len(groups) != len(fresh["param_groups"]):
        raise MisfitError(f"{what} has {len(groups)} groups, not {len(fresh['param_groups'])}")
    for number, (group, wanted) in enumerate(zip(groups, fresh["param_groups"], strict=True)):
        _check_group(group, wanted, f"group {number} of {what}")
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    known = _STATE_NAMES[type(optimizer)]
    for place, values in steps.items():
        where = f"state {str(place)[:20]} of {what}"
        require_kind(place, int, where)
        require_kind(values, dict, where)
        if not 0 <= place < len(parameters):
            raise MisfitError(f"{where} belongs to no weight")
        require_keys(values, known, where)
        for name, value in values.items():
            if value is None and name == "momentum_buffer":
                continue
            _finite(value, f"{name} of {where}")
            shape = () if name == "step" else parameters[place].shape
            if tuple(value.shape) != tuple(shape) or not value.is_floating_point():
                raise MisfitError(f"{name} of {where} is {_described(value)}")
            if name in _NEVER_NEGATIVE and (value < 0).any():
                raise MisfitError(f"{name} of {where} is negative")


_NEVER_NEGATIVE = frozenset({"step", "exp_avg_sq"})
_BY_DEVICE = frozenset({"fused", "foreach", "capturable"})
_STATE_NAMES: Mapping[type[optim.Optimizer], Sequence[str]] = {
    optim.Adam: ("step", "exp_avg", "exp_avg_sq"),
    optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    optim.SGD: ("momentum_buffer",),
}


def check_like(found: object, wanted: Mapping[str, Any] | None, what: str) -> None:
    """Check that a small state (of early stopping, of a schedule) has the keys and types of an initial one.

    Args:
        found: numbers, one-element tensors, strings or None, by name.
        wanted: an initial state; None: `found` must be None too.
        what: name of the state, for the message.
    """
    if wanted is None or found is None:
        if found is not wanted:
            raise MisfitError(f"{what} is {'missing' if found is None else 'there, and should not be'}")
        return
    require_kind(found, dict, what)
    assert isinstance(found, dict)  # noqa: S101 - for the type checker
    require_keys(found, list(wanted), what)
    for name, value in wanted.items():
        given, where = found[name], f"{name} of {what}"
        if isinstance(value, Tensor):
            require_kind(given, Tensor, where)
            if given.numel() != 1 or torch.isnan(given).any():
                raise MisfitError(f"{where} is {_described(given)}")
        elif value is None:
            require_kind(given, (str, type(None)), where)
        else:
            require_kind(given, (int, float) if isinstance(value, float) else type(value), where)
            if math.isnan(given) or (isinstance(value, int) and given < 0):
                raise MisfitError(f"{where} is {given}")


def _check_group(group: object, wanted: Mapping[str, Any], what: str) -> None:
    require_kind(group, dict, what)
    assert isinstance(group, dict)  # noqa: S101 - for the type checker
    require_keys(group, list(wanted), what)
    for name, value in wanted.items():
        given = group[name]
        if name == "lr":  # set before every step
            same = isinstance(given, float) and math.isfinite(given)
        elif name in _BY_DEVICE:
            same = given is None or isinstance(given, bool)
        else:
            same = type(given) is type(value) and given == value
        if not same:
            raise MisfitError(f"{name} of {what} is not the run's")


def _finite(value: object, what: str) -> None:
    require_kind(value, Tensor, what)
    assert isinstance(value, Tensor)  # noqa: S101 - for the type checker
    if value.is_nested or value.is_quantized or value.layout != torch.strided or value.device.type != "cpu":
        raise MisfitError(f"{what} is no plain tensor")
    # A tensor expanded from a few bytes could otherwise take more memory than there is.
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise MisfitError(f"{what} does not hold the numbers of its shape")
    if not torch.isfinite(value).all():
        raise MisfitError(f"{what} has numbers that are not finite")


def _alike(value: Tensor, wanted: Tensor, what: str) -> None:
    if value.shape != wanted.shape or value.dtype != wanted.dtype:
        raise MisfitError(f"{what} is {_described(value)}, not {_described(wanted)}")


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
