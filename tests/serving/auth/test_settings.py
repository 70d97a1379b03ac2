"""Authorization settings: defaults and invalid values."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from assay.serving.auth.settings import DEFAULT_TIERS, AuthSettings, RateLimitSettings, default_keys_folder


def test_default_tiers():
    found = {name: (tier.per_minute, tier.burst) for name, tier in DEFAULT_TIERS.items()}
    assert found == {"bronze": (60, 10), "silver": (600, 50), "gold": (6000, 200)}


def test_redis_password_is_not_shown():
    settings = RateLimitSettings.model_validate({"redis": "redis://:password@host"})
    assert "password" not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    "wrong",
    [
        {"anonymous": "none"},
        {"tiers": {"Gold": DEFAULT_TIERS["gold"]}},
        {"tiers": {"gold": {"per_minute": 0, "burst": 1, "max_concurrent": 1}}},
    ],
    ids=["anonymous", "name", "zero"],
)
def test_invalid_limits_raise(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        RateLimitSettings.model_validate(wrong)


@pytest.mark.parametrize(
    "wrong", [{"proxies": ["ten"]}, {"max_clock_skew": 0}, {"max_failures_burst": 0}, {"key": 1}], ids=str
)
def test_invalid_auth_settings_raise(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        AuthSettings.model_validate(wrong)


def test_default_key_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_KEYS", "/here")
    assert default_keys_folder() == AuthSettings().folder == Path("/here")
    monkeypatch.delenv("ASSAY_KEYS")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    assert default_keys_folder() == Path("/config/assay")
