"""Packages whose public names are imported on first use, so that importing the package is cheap."""

from collections.abc import Callable, Mapping
from importlib import import_module

TYPE_CHECKING = False  # as typing has it, whose import would take longer than that of `assay`
if TYPE_CHECKING:
    from typing import Any


def lazy_attributes(package: str, modules: Mapping[str, str]) -> Callable[[str], "Any"]:
    """Return the `__getattr__` of a package (PEP 562), which imports the module of a public name on first use.

    Args:
        package: name of the package.
        modules: for each public name, its module in the package.
    """

    def get_attribute(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return get_attribute
