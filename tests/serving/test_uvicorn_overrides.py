"""The overridden internals of uvicorn are those that `assay.serving.uvicorn_overrides` was written for."""

import hashlib
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from uvicorn import Config, Server
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from assay.serving.uvicorn_overrides import GracefulServer, LimitedHttpProtocol

_KNOWN = {
    "FlowControl": "126debcdaa894c83",
    "RequestResponseCycle": "e67d470d435dcc1c",
    "HttpToolsProtocol.__init__": "4f08999410347141",
    "HttpToolsProtocol.connection_made": "6efb565ff3d36b91",
    "HttpToolsProtocol.connection_lost": "c91a4c9bf2e29c55",
    "HttpToolsProtocol.data_received": "010a7ae59a5d3b1a",
    "HttpToolsProtocol._unset_keepalive_if_required": "00a6a4e47214e68e",
    "HttpToolsProtocol.on_message_begin": "96d377fdc7c2baef",
    "HttpToolsProtocol.on_url": "37be44e962b04ca8",
    "HttpToolsProtocol.on_header": "65d62c044f61fdbd",
    "HttpToolsProtocol.on_headers_complete": "1ea8589acfad92d8",
    "HttpToolsProtocol.on_body": "dba9c32aeba35b6a",
    "HttpToolsProtocol.on_message_complete": "1fbad42dc31fc01f",
    "HttpToolsProtocol.on_response_complete": "64e254f28e389e76",
    "HttpToolsProtocol._start_asgi_task": "9c08c2571ae9b038",
    "HttpToolsProtocol.shutdown": "d7351fa33f00d430",
    "HttpToolsProtocol.timeout_keep_alive_handler": "8b53bf5f2e202970",
    "Server.__init__": "c150b55284f7511e",
    "Server.serve": "112ef41af52167e3",
    "Server._serve": "4575b7a50adfede8",
    "Server.startup": "2aa1d70a244bfcf2",
    "Server.main_loop": "afccb353a119333f",
    "Server.on_tick": "60ea49b06ccf68c1",
    "Server.shutdown": "9b33c50562992b1e",
    "Server._wait_tasks_to_complete": "17209be1e991445d",
    "Server.capture_signals": "e1bbcd4770d1c887",
    "Config.get_loop_factory": "de5a9cb6dc6b3129",
}
"""SHA-256 (its first 16 digits) of the source of everything in uvicorn that is overridden, called or read."""
_OVERRIDDEN = ((LimitedHttpProtocol, HttpToolsProtocol), (GracefulServer, Server))


def _source_digest(name: str) -> str:
    owner, _, attribute = name.partition(".")
    classes = {kind.__name__: kind for kind in (FlowControl, RequestResponseCycle, HttpToolsProtocol, Server, Config)}
    found = inspect.unwrap(getattr(classes[owner], attribute)) if attribute else classes[owner]
    return hashlib.sha256(inspect.getsource(found).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", _KNOWN)
def test_overridden_uvicorn_code_is_unchanged(name: str) -> None:
    assert _source_digest(name) == _KNOWN[name], (
        f"{name} of uvicorn {version('uvicorn')} has changed: compare it with assay/serving/uvicorn_overrides.py, "
        "adapt that, and then this digest"
    )


def test_every_overridden_method_is_checked() -> None:
    for ours, theirs in _OVERRIDDEN:
        overridden = {name for name in vars(ours) if inspect.isroutine(vars(theirs).get(name))}
        assert {f"{theirs.__name__}.{name}" for name in overridden} <= set(_KNOWN)


def test_supported_uvicorn_version_is_installed() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    groups = tomllib.loads(text)["project"]["optional-dependencies"]
    (allowed,) = {line for lines in groups.values() for line in lines if line.startswith("uvicorn")}
    release = [int(part) for part in version("uvicorn").split(".")[:2]]
    following = f"{release[0]}.{release[1] + 1}"
    assert version("uvicorn") in Requirement(allowed).specifier
    assert following not in Requirement(allowed).specifier
