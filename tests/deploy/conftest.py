"""The files in `deploy/`, optional programs, and free ports."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def deploy() -> Path:
    """The folder."""
    return DEPLOY


@pytest.fixture
def compose() -> dict[str, Any]:
    """`compose.yaml` with its anchors expanded."""
    result: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return result


@pytest.fixture
def manifests() -> dict[str, dict[str, Any]]:
    """The manifests of the Kubernetes base by kind."""
    found = [
        item
        for path in sorted((DEPLOY / "kubernetes/base").glob("*.yaml"))
        for item in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    return {item["kind"]: item for item in found}


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Find free ports."""

    def find() -> int:
        with socket.socket() as item:
            item.bind(("127.0.0.1", 0))
            port: int = item.getsockname()[1]
        return port

    return find
