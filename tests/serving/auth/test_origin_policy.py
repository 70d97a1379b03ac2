"""Host and origin checks without keys: programs and own pages pass, pages of other origins do not."""

import pytest

from assay.core.errors import UsageError
from assay.serving.auth import AccessDeniedError
from assay.serving.auth.origin_policy import OriginPolicy
from assay.serving.settings import ServeSettings

_LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def _passes(policy: OriginPolicy, headers: dict[str, str], method: str = "POST") -> bool:
    try:
        policy.check(method, headers)
    except AccessDeniedError as refusal:
        return refusal.status != 403
    return True


@pytest.mark.parametrize("listening", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
@pytest.mark.parametrize(
    ("host", "passes"),
    [
        (None, True),
        ("", True),
        ("localhost", True),
        ("localhost:8000", True),
        ("LocalHost.:1", True),
        ("127.0.0.1", True),
        ("127.0.0.1:65535", True),
        ("127.8.9.10", True),
        ("[::1]", True),
        ("[::1]:8000", True),
        ("[::ffff:127.0.0.1]:8000", True),
        ("rebound.example", False),
        ("rebound.example:8000", False),
        ("127.0.0.1.nip.example", False),
        ("localhost.rebound.example", False),
        ("localhost@rebound.example", False),
        ("localhost, rebound.example", False),
        ("127.0.0.1:8000, rebound.example", False),
        ("rebound", False),
        ("192.0.2.1:8000", False),
        ("[2001:db8::1]", False),
        ("localhost:80:80", False),
        ("::1", False),
        ("0x7f.1", False),
    ],
)
def test_loopback_server_accepts_only_local_host_names(listening: str, host: str | None, *, passes: bool):
    headers = {} if host is None else {"host": host}
    assert _passes(OriginPolicy(listening, (), ()), headers) is passes


@pytest.mark.parametrize(
    ("headers", "method", "passes"),
    [
        ({}, "POST", True),
        ({"origin": "http://127.0.0.1:8000"}, "POST", True),
        ({"origin": "https://127.0.0.1:8000"}, "POST", True),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, "POST", True),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, "GET", True),
        (_LINK, "GET", True),
        (_LINK, "HEAD", True),
        (_LINK, "POST", False),
        ({**_LINK, "sec-fetch-dest": "iframe"}, "GET", False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, "GET", False),
        ({"sec-fetch-site": "same-site"}, "GET", False),
        ({"origin": "null"}, "POST", False),
        ({"origin": "https://elsewhere.example"}, "POST", False),
        ({"origin": "https://elsewhere.example"}, "OPTIONS", False),
        ({"origin": "http://127.0.0.1:9000"}, "POST", False),
        ({"origin": "http://127.0.0.1"}, "POST", False),
        ({"origin": "http://localhost:8000"}, "POST", False),
        ({"origin": "http://127.0.0.1:8000.elsewhere.example"}, "POST", False),
        ({"origin": "chrome-extension://127.0.0.1:8000"}, "POST", False),
        ({"origin": "http://127.0.0.1:8000, https://elsewhere.example"}, "POST", False),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "cross-site"}, "POST", False),
        ({"origin": ""}, "POST", False),
    ],
)
def test_pages_of_other_origins_are_rejected(headers: dict[str, str], method: str, *, passes: bool):
    for policy in (OriginPolicy("127.0.0.1", (), ()), OriginPolicy("0.0.0.0", (), ())):  # noqa: S104
        assert _passes(policy, {"host": "127.0.0.1:8000", **headers}, method) is passes


def test_default_ports_equal_no_port():
    policy = OriginPolicy("127.0.0.1", (), ())
    for origin, host in (("http://localhost", "localhost:80"), ("https://localhost:443", "localhost")):
        assert _passes(policy, {"host": host, "origin": origin})


def test_allowed_hosts_pass_also_behind_a_proxy():
    policy = OriginPolicy("127.0.0.1", ("Photos.example", "[2001:db8::1]"), ())
    for host in ("photos.example", "photos.example:8443", "[2001:db8::1]:1", "localhost"):
        assert _passes(policy, {"host": host})
    for host in ("other.example", "a.photos.example", "photos.example.evil"):
        assert not _passes(policy, {"host": host})
    # A proxy that puts another Host in place of the browser's.
    behind = {"host": "127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert _passes(policy, {**behind, "origin": "https://photos.example"})
    assert not _passes(policy, {**behind, "origin": "https://other.example"})
    assert _passes(OriginPolicy("127.0.0.1", ("*",), ()), {"host": "other.example"})


def test_other_addresses_check_host_names_only_if_some_are_allowed():
    everywhere = "0.0.0.0"  # noqa: S104
    assert _passes(OriginPolicy(everywhere, (), ()), {"host": "any.example"})
    policy = OriginPolicy(everywhere, ("photos.example",), ())
    # Probes and balancers ask by address.
    for host in ("photos.example", "localhost:8000", "10.0.0.7:8000", "[2001:db8::7]"):
        assert _passes(policy, {"host": host})
    assert not _passes(policy, {"host": "any.example"})


def test_cors_origins_pass():
    request = {"host": "localhost", "origin": "https://a.example", "sec-fetch-site": "cross-site"}
    assert _passes(OriginPolicy("localhost", (), ("https://A.example",)), request)
    assert _passes(OriginPolicy("localhost", (), ("*",)), request)
    assert not _passes(OriginPolicy("localhost", (), ("https://b.example",)), request)
    assert not _passes(OriginPolicy("localhost", (), ("*",)), {**request, "host": "rebound.example"})


@pytest.mark.parametrize("name", ["http://a.example", "a.example:80", "a b", "", "[::1]:80", "a/b"])
def test_invalid_host_name_raises(name: str):
    with pytest.raises(UsageError, match="is not a host name"):
        ServeSettings.read({"listen": {"allowed_hosts": [name]}})
