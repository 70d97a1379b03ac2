"""What lies in `deploy/`, read; programs that may be absent; and free ports."""

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
    """`compose.yaml`, with what is said once for several services in each of them."""
    told: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return told


@pytest.fixture
def manifests() -> dict[str, dict[str, Any]]:
    """The Kubernetes manifests by kind."""
    found = [
        one
        for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
        if path.name != "prometheus-adapter.yaml"
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    return {one["kind"]: one for one in found}


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Find ports that nobody listens at."""

    def find() -> int:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
        return port

    return find
