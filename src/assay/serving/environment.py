"""Variables of the server's settings in the environment: those that no setting reads, and those that are not JSON."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_origin

from pydantic import BaseModel

from assay.core.printable_text import strip_invisible
from assay.recipe.base import closest_match, union_members

_KUBERNETES: Final = re.compile(
    r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)", re.IGNORECASE
)
"""What Kubernetes adds for a service in the namespace, such as one called assay-serve, after the service's name."""
_KUBERNETES_PORT: Final = re.compile(r"(tcp|udp|sctp)://")
_MAX_SHOWN: Final = 60


def unread_variables(model: type[BaseModel], prefix: str, environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable that begins with `prefix` but that no setting reads, by name.

    Those that Kubernetes adds for a service whose name begins like `prefix` are expected.
    """
    known = dict(_variables(model, prefix))
    return [
        f"{strip_invisible(name)[:_MAX_SHOWN]} is not read: no setting has this name; "
        f"the nearest is {nearest_variable(model, prefix, name)}"
        for name, value in sorted(environment.items())
        if name.upper().startswith(prefix)
        and not _is_read(name.upper(), known)
        and not _is_from_kubernetes(name[len(prefix) :], value)
    ]


def nearest_variable(model: type[BaseModel], prefix: str, name: str) -> str:
    """Return the variable of a setting or group whose name is most like `name`, which begins with `prefix`."""
    known = [variable.removeprefix(prefix) for variable, _ in _variables(model, prefix)]
    return prefix + closest_match(name[len(prefix) :][:_MAX_SHOWN], known)


def variable_that_is_not_json(model: type[BaseModel], prefix: str, environment: Mapping[str, str]) -> str | None:
    """Return a sentence about the first variable of a list or a group of settings that is not JSON; None: all are."""
    known = dict(_variables(model, prefix))
    for name, value in sorted(environment.items()):
        if (example := _json_example(known.get(name.upper()))) is not None:
            try:
                json.loads(value)
            except (ValueError, RecursionError):
                # The value is not shown: it may contain the password of a store.
                return f"{name} cannot be used: must be JSON, such as {example}"
    return None


def _variables(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the variable of each setting and of each group, with its type."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        yield variable, field.annotation
        for kind in union_members(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _variables(kind, f"{variable}__")


def _is_read(name: str, known: Mapping[str, Any]) -> bool:
    """Whether a variable is that of a setting, or below one: a wrong name in a group is an error, not ignored."""
    return name in known or any(name.startswith(f"{group}__") for group in known)


def _is_from_kubernetes(name: str, value: str) -> bool:
    is_port = name.upper() == "PORT" or name.upper().endswith("_PORT")
    return bool(_KUBERNETES.fullmatch(name) or (is_port and _KUBERNETES_PORT.match(value)))


def _json_example(annotation: Any) -> str | None:
    """Return JSON of a list or a group of settings; None for other types, whose variables are text."""
    for kind in union_members(annotation):
        if get_origin(kind) in {tuple, list}:
            return '["a", "b"]'
        if get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return '{"name": "value"}'
    return None
