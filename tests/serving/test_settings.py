"""Settings from the command line, the environment or defaults; errors name the setting and its variable."""

from pathlib import Path
from typing import Any

import pytest

from assay.core.errors import UsageError
from assay.serving.settings import ModelSource, ServeSettings


def test_command_line_overrides_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_SERVE_LISTEN__PORT", "9000")
    monkeypatch.setenv("ASSAY_SERVE_LISTEN__WORKERS", "3")
    monkeypatch.setenv("ASSAY_SERVE_LISTEN__CORS", '["https://a.example"]')
    listen = ServeSettings.read({"listen": {"port": 9001}}).listen
    assert (listen.port, listen.workers, listen.cors) == (9001, 3, ("https://a.example",))
    assert listen.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LISTEN__PORT", "70000", "port"),
        ("BATCHING__QUEUE", "0", "queue"),
        ("LISTEN__CORS", "a,b", "JSON"),
        ("LISTEN__CORS", "3", 'a list in JSON, such as ."a", "b"'),
        ("MODELS__PRECISION", "fp8", "precision"),
    ],
    ids=["port", "queue", "cors", "cors-number", "precision"],
)
def test_invalid_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str):
    monkeypatch.setenv(f"ASSAY_SERVE_{name}", value)
    with pytest.raises(UsageError, match=message):
        ServeSettings.read({})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"listen": {"port": "x"}}, "port (ASSAY_SERVE_LISTEN__PORT) cannot be used: must be a whole number"),
        ({"listen": {"prt": 1}}, "prt (ASSAY_SERVE_LISTEN__PRT) cannot be used: no setting has this name"),
        ({"listen": {"host": "a b"}}, "host (ASSAY_SERVE_LISTEN__HOST) cannot be used: must be an address or a host"),
        ({"listen": {"host": "http://a"}}, "host (ASSAY_SERVE_LISTEN__HOST) cannot be used: must be an address or a"),
        ({"listen": {"allowed_hosts": "x"}}, "allowed-hosts (ASSAY_SERVE_LISTEN__ALLOWED_HOSTS) cannot be used: must"),
        ({"listen": {"root_path": "a"}}, "root-path (ASSAY_SERVE_LISTEN__ROOT_PATH) cannot be used: must be empty"),
        ({"limits": {"tiers": {"A B": {}}}}, "A B (ASSAY_SERVE_LIMITS__TIERS__A B) cannot be used: must be lower"),
        ({"auth": {"proxies": ["x"]}}, "proxies (ASSAY_SERVE_AUTH__PROXIES) cannot be used: 'x' does not appear to be"),
        ({"cache": 3}, "cache (ASSAY_SERVE_CACHE) cannot be used: must be names with values"),
    ],
)  # fmt: skip
def test_errors_are_in_the_words_of_a_user(options: dict[str, Any], message: str):
    with pytest.raises(UsageError) as caught:
        ServeSettings.read(options)
    assert str(caught.value).startswith(message)


def test_model_names_default_to_those_of_the_bundles():
    assert ModelSource.parse("a/b.assay").name is None
    assert ModelSource.parse("x=a/b.assay").name == "x"
    assert ModelSource.parse("a/b=c.assay").name is None
    with pytest.raises(UsageError, match="NAME=PATH"):
        ModelSource.parse("=a.assay")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("none", "requests are not recorded"),
        ("mongodb://me:secret@host/db", "requests are recorded in MongoDB"),
        ("kept/a.sqlite", "requests are recorded in kept/a.sqlite; list them: assay request-log kept/a.sqlite"),
    ],
    ids=["nowhere", "mongodb", "file"],
)
def test_request_log_description_hides_passwords(url: str, message: str):
    assert ServeSettings.read({"request_log": {"url": url}}).request_log.description == message


def test_description_of_the_default_request_log():
    assert ServeSettings().request_log.description.endswith("; list them: assay request-log")


@pytest.mark.parametrize("name", ["lr=0.01.assay", "a=b=c.assay", "=x.assay", "epoch=3", "a=b/model.assay"])
def test_existing_file_is_a_path_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert ModelSource.parse(name) == ModelSource(Path(name))
    assert ModelSource.parse(f"best={name}") == ModelSource(Path(name), "best")


def test_name_without_a_path_is_rejected() -> None:
    with pytest.raises(UsageError, match="write NAME=PATH"):
        ModelSource.parse("best=")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LISTEN", "abc", 'ASSAY_SERVE_LISTEN cannot be used: must be JSON, such as {"name": "value"}'),
        ("CACHE", "", 'ASSAY_SERVE_CACHE cannot be used: must be JSON, such as {"name": "value"}'),
        ("AUTH__COUNTRIES__ALLOW", "DE", "ASSAY_SERVE_AUTH__COUNTRIES__ALLOW cannot be used: must be JSON, such as"),
        ("LIMITS__TIERS", "x", 'ASSAY_SERVE_LIMITS__TIERS cannot be used: must be JSON, such as {"name": "value"}'),
        ("CACHE", "3", "cache (ASSAY_SERVE_CACHE) cannot be used: must be names with values in JSON, such as {"),
        ("LISTEN", '{"port": true}', "port (ASSAY_SERVE_LISTEN__PORT) cannot be used: must be a number, not true"),
        ("LIMITS__TIERS__GOLD__BURST", "5", "per-minute (ASSAY_SERVE_LIMITS__TIERS__GOLD__PER_MINUTE) is missing"),
        ("LISTEN__PRT", "5", "prt (ASSAY_SERVE_LISTEN__PRT) cannot be used: no setting has this name; the nearest is"),
        ("LISTEN__", "5", "ASSAY_SERVE_LISTEN__ cannot be used: no setting has this name"),
    ],
)  # fmt: skip
def test_variable_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str):
    monkeypatch.setenv(f"ASSAY_SERVE_{name}", value)
    with pytest.raises(UsageError) as caught:
        ServeSettings.read({})
    assert str(caught.value).startswith(message)
    assert "YAML" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("LISTEN__PRT", "LISTEN__PORT"),
        ("AUTH__COUNTRIES__ALOW", "AUTH__COUNTRIES__ALLOW"),
        ("CACHE__TTLL", "CACHE__TTL"),
    ],
)
def test_nearest_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, nearest: str):
    monkeypatch.setenv(f"ASSAY_SERVE_{name}", "5")
    with pytest.raises(UsageError, match=f"; the nearest is ASSAY_SERVE_{nearest}$"):
        ServeSettings.read({})


def test_password_in_a_variable_that_is_not_json_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_SERVE_CACHE", "{redis: redis://:secret@host}")
    with pytest.raises(UsageError, match="ASSAY_SERVE_CACHE") as caught:
        ServeSettings.read({})
    assert "secret" not in str(caught.value)
