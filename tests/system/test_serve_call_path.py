"""A request passes through few functions in few files."""

from collections.abc import Callable
from pathlib import Path

from tests.conftest import load_benchmark


def test_path_of_a_request_is_short(make_bundle: Callable[..., Path]) -> None:
    steps = load_benchmark("call_path").call_path(make_bundle())
    assert ("serving/service.py", "Service.classify") in steps
    assert len(steps) <= 18
    assert len({file for file, _ in steps}) <= 10
