"""The public names of the packages."""

from importlib import import_module

import pytest


@pytest.mark.parametrize("package", ["assay", "assay.pipeline", "assay.training"])
def test_every_lazily_imported_name_exists(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
