"""Optional packages that are hidden from the packages that would import them."""

import importlib
import sys

import pytest

from assay.core.hidden_modules import hidden_modules


def test_hidden_module_cannot_be_imported_inside_the_block() -> None:
    sys.modules.pop("colorsys", None)
    with hidden_modules("colorsys"), pytest.raises(ImportError):
        importlib.import_module("colorsys")
    assert importlib.import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0, 0, 0)


def test_loaded_module_stays_loaded() -> None:
    loaded = importlib.import_module("json")
    with hidden_modules("json"):
        assert importlib.import_module("json") is loaded
    assert sys.modules["json"] is loaded
