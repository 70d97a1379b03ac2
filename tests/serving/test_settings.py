"""Settings: typed, from the environment, or by default; an error names the setting both ways."""

from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.serving.settings import ModelSource, ServeSettings


def test_what_is_typed_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_SERVE_LISTEN__PORT", "9000")
    monkeypatch.setenv("ASSAY_SERVE_LISTEN__WORKERS", "3")
    monkeypatch.setenv("ASSAY_SERVE_LISTEN__CORS", '["https://a.example"]')
    listen = ServeSettings.read({"listen": {"port": 9001}}).listen
    assert (listen.port, listen.workers, listen.cors) == (9001, 3, ("https://a.example",))
    assert listen.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LISTEN__PORT", "70000", "port"),
        ("BATCHING__QUEUE", "0", "queue"),
        ("LISTEN__CORS", "a,b", "JSON"),
        ("MODELS__PRECISION", "fp8", "precision"),
    ],
    ids=["port", "queue", "cors", "precision"],
)
def test_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str):
    monkeypatch.setenv(f"ASSAY_SERVE_{name}", value)
    with pytest.raises(UsageError, match=said):
        ServeSettings.read({})


def test_models_have_names_or_take_their_own():
    assert ModelSource.parse("a/b.assay").name is None
    assert ModelSource.parse("x=a/b.assay").name == "x"
    assert ModelSource.parse("a/b=c.assay").name is None
    with pytest.raises(UsageError, match="NAME=PATH"):
        ModelSource.parse("=a.assay")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("none", "requests are not recorded"),
        ("mongodb://me:secret@host/db", "requests are recorded in MongoDB"),
        ("kept/a.sqlite", "requests are recorded in kept/a.sqlite; list them: assay request-log kept/a.sqlite"),
    ],
    ids=["nowhere", "mongodb", "file"],
)
def test_where_requests_are_recorded_is_told_without_passwords(url: str, said: str):
    assert ServeSettings.read({"request_log": {"url": url}}).request_log.description == said


def test_the_default_request_log_is_listed_without_a_name():
    assert ServeSettings().request_log.description.endswith("; list them: assay request-log")


@pytest.mark.parametrize("name", ["lr=0.01.assay", "a=b=c.assay", "=x.assay", "epoch=3", "a=b/model.assay"])
def test_a_file_that_exists_is_a_path_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert ModelSource.parse(name) == ModelSource(Path(name))
    assert ModelSource.parse(f"best={name}") == ModelSource(Path(name), "best")


def test_a_name_without_a_file_is_refused() -> None:
    with pytest.raises(UsageError, match="write NAME=PATH"):
        ModelSource.parse("best=")
