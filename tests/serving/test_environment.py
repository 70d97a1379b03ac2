"""Variables that look like settings but are not read are named; those that Kubernetes adds are not."""

import pytest

from assay.serving.environment import unread_variables
from assay.serving.settings import PREFIX, ServeSettings


def unread(**environment: str) -> list[str]:
    return unread_variables(ServeSettings, PREFIX, environment)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("LIMIT__REDIS", "LIMITS__REDIS"),
        ("PORT", "LISTEN__PORT"),
        ("LISTEN_PORT", "LISTEN__PORT"),
        ("LISTENPORT", "LISTEN__PORT"),
        ("WORKERS", "LISTEN__WORKERS"),
        ("LOG_LEVEL", "TELEMETRY__LOG_LEVEL"),
        ("COUNTRIES__ALLOW", "AUTH__COUNTRIES__ALLOW"),
        ("CASHE", "CACHE"),
    ],
)
def test_a_typo_is_named_with_the_nearest_variable(name: str, nearest: str):
    assert unread(**{f"{PREFIX}{name}": "9000"}) == [
        f"{PREFIX}{name} is not read: no setting has this name; the nearest is {PREFIX}{nearest}"
    ]
    assert unread(**{f"{PREFIX}{name}".lower(): "9000"})[0].startswith(f"{PREFIX}{name}".lower())


@pytest.mark.parametrize("service", ["", "CANARY_", "LISTEN_"])
def test_what_kubernetes_adds_is_expected(service: str):
    address = "10.0.0.7"
    values = {
        "SERVICE_HOST": address,
        "SERVICE_PORT": "8000",
        "SERVICE_PORT_HTTP": "8000",
        "PORT": f"tcp://{address}:8000",
        "PORT_8000_TCP": f"tcp://{address}:8000",
        "PORT_8000_TCP_PROTO": "tcp",
        "PORT_8000_TCP_PORT": "8000",
        "PORT_8000_TCP_ADDR": address,
    }
    assert unread(**{f"{PREFIX}{service}{name}": value for name, value in values.items()}) == []


def test_settings_and_other_variables_are_expected():
    names = ("LISTEN", "LISTEN__PORT", "listen__cors", "LIMITS__TIERS", "LIMITS__TIERS__GOLD__BURST", "CACHE__REDIS")
    assert unread(**{f"{PREFIX}{name}": "1" for name in names}, ASSAY_CACHE="x", ASSAY_SERVER="y", PATH="z") == []


@pytest.mark.parametrize("name", [f"{PREFIX}", f"{PREFIX}\x1b[31m", f"{PREFIX}{'x' * 5000}"])
def test_odd_names_are_shown_shortened_and_without_control_characters(name: str):
    (sentence,) = unread(**{name: "x"})
    assert "\x1b" not in sentence
    assert len(sentence) < 250
